"""Words are found, and ranked."""

import unittest

from tally.counting import top, words


class Words(unittest.TestCase):
    def test_case_does_not_matter(self) -> None:
        self.assertEqual(words("Sea sea SEA"), ["sea", "sea", "sea"])

    def test_an_apostrophe_inside_belongs_to_its_word(self) -> None:
        self.assertEqual(words("it's 'quoted'"), ["it's", "quoted"])

    def test_digits_are_no_words(self) -> None:
        self.assertEqual(words("7 of 9"), ["of"])


class Top(unittest.TestCase):
    def test_the_most_frequent_word_comes_first(self) -> None:
        self.assertEqual(top("a b b c", 1), [("b", 2)])

    def test_equals_come_in_alphabetical_order(self) -> None:
        self.assertEqual(top("b a", 2), [("a", 1), ("b", 1)])

    def test_an_empty_text_has_no_words(self) -> None:
        self.assertEqual(top("", 5), [])

    def test_none_can_not_be_asked_for(self) -> None:
        with self.assertRaises(ValueError):
            top("a", 0)


if __name__ == "__main__":
    unittest.main()
