// Look-up by `String`, so that only the declaration of a dictionary or set names the key's type.

extension Dictionary where Key == ExactText {
  /// The value of a text.
  public subscript(text: String) -> Value? {
    get { self[ExactText(text)] }
    set { self[ExactText(text)] = newValue }
  }

  /// The value of a text, `fallback` where there is none.
  public subscript(text: String, default fallback: @autoclosure () -> Value) -> Value {
    get { self[ExactText(text), default: fallback()] }
    _modify { yield &self[ExactText(text), default: fallback()] }
  }

  /// Sets the value of a text and returns the one before.
  @discardableResult
  public mutating func updateValue(_ value: Value, forKey text: String) -> Value? {
    updateValue(value, forKey: ExactText(text))
  }
}

extension Set where Element == ExactText {
  /// A set of texts.
  public init(_ texts: some Sequence<String>) {
    self.init(texts.lazy.map { ExactText($0) })
  }

  /// Whether a text is in the set.
  public func contains(_ text: String) -> Bool { contains(ExactText(text)) }

  /// Puts a text into the set; false where it was there.
  @discardableResult
  public mutating func insert(_ text: String) -> (inserted: Bool, memberAfterInsert: ExactText) {
    insert(ExactText(text))
  }
}
