def total(items):
    return 2 * items
