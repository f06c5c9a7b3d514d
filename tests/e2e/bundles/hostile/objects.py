"""Returns and raises what is hard to keep: deep, huge, and with methods that do harm to whoever calls them."""

from stepwell import WorkflowEntrypoint

ONCE = {"retries": {"limit": 0, "delay": 0}, "timeout": "2 seconds"}


def harm(*_args, **_kwargs):
    raise BaseException("the host or the guest called a method of a tenant's object")


class Hostile:
    """Every method that something may call without being asked to."""

    __repr__ = __str__ = __hash__ = __eq__ = __reduce__ = __reduce_ex__ = __getstate__ = harm
    __iter__ = __len__ = __bool__ = __format__ = __bytes__ = __int__ = __index__ = __float__ = harm
    __class__ = property(harm)
    __del__ = harm


class HostileText(str):
    __repr__ = __str__ = __hash__ = __eq__ = __len__ = __iter__ = encode = isascii = __reduce__ = harm

    def __getitem__(self, _):
        harm()


class HostileDict(dict):
    __repr__ = __iter__ = __len__ = items = keys = values = __getitem__ = harm


class HostileError(Exception):
    __repr__ = __str__ = __hash__ = __eq__ = __reduce__ = harm
    __class__ = __cause__ = __context__ = __traceback__ = __notes__ = __suppress_context__ = property(harm)


class Returner(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.call("return", self.make, config=ONCE)

    def make(self):
        raise NotImplementedError


class DeepResult(Returner):
    def make(self):
        value = []
        for _ in range(200_000):
            value = [value]
        return value


class HugeResult(Returner):
    def make(self):
        return "x" * 100_000_000


class HugeOutput(WorkflowEntrypoint):
    async def run(self, event, step):
        return ["x" * 1000] * 100_000


class HugeNumber(Returner):
    def make(self):
        return 1 << 4_000_000


class EndlessResult(Returner):
    def make(self):
        value = []
        value.append(value)
        return value


class HostileResult(Returner):
    def make(self):
        return Hostile()


class HostileKeys(Returner):
    def make(self):
        return HostileDict({HostileText("key"): 1})


class HostileOutput(WorkflowEntrypoint):
    async def run(self, event, step):
        return [Hostile(), HostileText("text")]


class HostileErrorInStep(WorkflowEntrypoint):
    async def run(self, event, step):
        async def fail():
            raise HostileError

        await step.call("fail", fail, config=ONCE)


class HostileErrorInRun(WorkflowEntrypoint):
    async def run(self, event, step):
        raise HostileError


class HugeErrorText(WorkflowEntrypoint):
    async def run(self, event, step):
        class Long(Exception):
            def __str__(self):
                return "long \x1b[31m\u202e\x00 " * 10_000_000

        async def fail():
            raise Long

        await step.call("fail", fail, config=ONCE)


class ErrorTextThatIsNone(WorkflowEntrypoint):
    async def run(self, event, step):
        class Odd(Exception):
            def __str__(self):
                return None

        Odd.__module__ = Odd.__qualname__ = "odd" * 100_000
        raise Odd


class CausesInACircle(WorkflowEntrypoint):
    async def run(self, event, step):
        one, other = ValueError("one of a circle"), KeyError("other")
        one.__cause__, other.__cause__ = other, one
        for error in (one, other):
            error.__notes__ = ["note" * 1_000_000] * 100
        raise one


class CausesWithoutEnd(WorkflowEntrypoint):
    async def run(self, event, step):
        error = ValueError("the innermost")
        for number in range(200_000):
            outer = ExceptionGroup(f"group {number}", [error])
            outer.__cause__ = error
            error = outer
        raise error


class DeepTraceback(WorkflowEntrypoint):
    async def run(self, event, step):
        def deeper(level):
            return deeper(level + 1)

        await step.call("deeper", deeper, 0, config=ONCE)


class HostileStepName(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.call(HostileText("name"), lambda: 1, config=ONCE)


class LongStepName(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.call("n" * 10_000_000, lambda: 1, config=ONCE)


class HostileConfig(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.call("configured", lambda: 1, config=HostileDict({"timeout": Hostile()}))
