import sys
from importlib.metadata import version

import greenlet
from pydantic_core import SchemaValidator, core_schema

from stepwell import WorkflowEntrypoint

from .text import pages

_NUMBERS = SchemaValidator(core_schema.list_schema(core_schema.int_schema()))


class Orders(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do()
        def page():
            return pages.page(event.payload["name"])

        @step.do()
        def numbers():
            return _NUMBERS.validate_python(event.payload["numbers"])

        @step.do()
        def switched():
            seen = []
            other = greenlet.greenlet(lambda: seen.append("other"))
            other.switch()
            return [*seen, "back"]

        @step.do()
        def where():
            paths = [path for path in sys.path if path.startswith("/bundle")]
            return {
                "versions": {name: version(name) for name in ("markupsafe", "greenlet")},
                "paths": paths,
                "last": sys.path[-1],
            }

        return [await page(), await numbers(), await switched(), await where()]
