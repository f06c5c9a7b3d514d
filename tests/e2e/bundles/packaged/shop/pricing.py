import json
from importlib.resources import files


def price_of(name):
    prices = json.loads(files(__package__).joinpath("data/prices.json").read_text())
    return prices[name]
