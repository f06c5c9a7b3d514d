"""The command `stepwell`: what people and scripts type. Its parts are imported when a verb needs them."""
