import Testing

@testable import XTunerRun

@Suite struct TextWrappingTests {
  @Test(arguments: [
    ("one two three", 13, 0, "one two three"), ("one two three", 12, 0, "one two\nthree"),
    ("one two three", 7, 2, "one two\n  three"), ("a\nlonger line\n", 7, 0, "a\nlonger\nline\n"),
    ("  indented text", 12, 0, "  indented\ntext"),
    // Aligned columns stay aligned where they fit; the gap at a break goes.
    ("loss    1.25  2.50", 12, 8, "loss    1.25\n2.50"),
    ("label  value and more", 17, 7, "label  value and\n       more"),
    // Nothing can be done for a path that is longer than the terminal is wide.
    ("in /a/very/long/path now", 10, 0, "in\n/a/very/long/path\nnow"),
    ("", 5, 0, ""), ("wide", 0, 0, "wide"),
  ])
  func breaksBetweenWords(text: String, columns: Int, indentation: Int, expected: String) {
    #expect(text.wrapped(columns: columns, indentation: indentation) == expected)
  }
}
