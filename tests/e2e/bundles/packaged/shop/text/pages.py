from markupsafe import Markup, _native, escape

from ..pricing import price_of  # noqa: TID252 - what this bundle is for


def page(name):
    speedups = escape.__module__ != _native.__name__
    return {"html": str(Markup("<b>%s</b> %s") % (escape(name), price_of(name))), "in C": speedups}
