/// Text from outside as a key: equal only to text of the same bytes.
///
/// `String` compares by canonical equivalence, so that a name in composed and in decomposed form,
/// or U+F914 and U+6A02, are one key of a dictionary. Files, tokens, tensors and keys of JSON and
/// YAML that differ in bytes are different things. Every dictionary and set over text that comes
/// from outside has this type for its keys; `scripts/soundness.sh` finds those that have not.
public struct ExactText: Hashable, Comparable, Sendable {
  /// The text itself, as it was given.
  public let text: String

  /// Takes `text` for a key.
  public init(_ text: String) {
    self.text = text
  }

  /// Whether both are the same bytes.
  public static func == (left: ExactText, right: ExactText) -> Bool {
    left.text.isExactly(right.text)
  }

  /// Whether `left` comes first in the order of bytes, which is that of code points.
  public static func < (left: ExactText, right: ExactText) -> Bool {
    left.text.utf8.lexicographicallyPrecedes(right.text.utf8)
  }

  /// Feeds the bytes to a hasher.
  public func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    // No text has this byte: the end is part of what is hashed.
    hasher.combine(UInt8.max)
  }
}

extension ExactText: CustomStringConvertible {
  /// The text itself.
  public var description: String { text }
}

extension ExactText: ExpressibleByStringLiteral {
  /// Takes a literal for a key.
  public init(stringLiteral text: String) { self.init(text) }
}

extension StringProtocol {
  /// Whether both texts are the same bytes; `==` also holds for canonically equivalent ones.
  public func isExactly(_ other: some StringProtocol) -> Bool {
    let known = utf8.withContiguousStorageIfAvailable { left in
      other.utf8.withContiguousStorageIfAvailable { right in left.elementsEqual(right) }
    }
    return (known ?? nil) ?? utf8.elementsEqual(other.utf8)
  }
}

extension Sequence where Element: StringProtocol {
  /// Whether one of the texts is the same bytes as `text`.
  public func containsExactly(_ text: some StringProtocol) -> Bool {
    contains { $0.isExactly(text) }
  }

  /// The texts in the order of their bytes, which is that of code points.
  ///
  /// `sorted()` leaves canonically equivalent texts in the order in which they came.
  public func sortedByBytes() -> [Element] {
    sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }
}
