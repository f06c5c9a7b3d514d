WORD = "old"
