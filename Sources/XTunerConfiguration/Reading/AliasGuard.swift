import XTunerText
import Yams

/// Refuses YAML whose anchors would keep the YAML library busy for ever.
///
/// The library compares the keys of a mapping as whole trees, so that an anchor as a key costs what
/// it expands to, and anchors of anchors double with each line. Here the text is read with its
/// aliases as plain texts, which costs what the file is long, and their sizes are only counted.
struct AliasGuard {
  /// Stands for `*` and does not occur in files: it is a character without a meaning of its own.
  private static let marker: Character = "\u{E000}"

  private let text: String
  private let origin: @Sendable (_ line: Int) -> ConfigurationOrigin
  private let limit: Int
  /// What each anchor stands for, by its name: how many values, and whether it is a plain text.
  private var anchors: [ExactText: (size: Int, isScalar: Bool)] = [:]

  init(
    _ text: String, origin: @escaping @Sendable (_ line: Int) -> ConfigurationOrigin, limit: Int
  ) {
    self.text = text
    self.origin = origin
    self.limit = limit
  }

  /// Throws `ConfigurationParser.Failure` for keys that are no texts and for anchors that expand
  /// too far, and the YAML library's error for what is not YAML.
  func check() throws {
    guard text.contains("*") || text.contains("&") else { return }
    let marked = text.replacing("*", with: String(Self.marker))
    let parser = try Parser(yaml: marked)
    guard let root = try parser.singleRoot() else { return }
    var copy = self
    // Nodes refer to their anchors weakly; the parser owns them.
    _ = try withExtendedLifetime(parser) { try copy.size(of: root) }
  }

  private mutating func size(of node: Node) throws(ConfigurationParser.Failure) -> Int {
    let place = origin(node.mark?.line ?? 1)
    var size = 1
    switch node {
    case .scalar(let scalar): size = alias(scalar)?.size ?? 1
    case .sequence(let items):
      for item in items { size += try self.size(of: item) }
    case .mapping(let pairs):
      for (key, value) in pairs {
        guard case .scalar(let scalar) = key, alias(scalar)?.isScalar ?? true else {
          throw .init(origin: origin(key.mark?.line ?? 1), reason: "a key must be a plain text")
        }
        if let anchor = key.anchor { anchors[anchor.rawValue] = (1, true) }
        size += try 1 + self.size(of: value)
      }
    case .alias: break
    }
    // A value counts wherever an alias stands for it, and sizes may double with every line.
    guard size <= limit else {
      throw .init(origin: place, reason: "anchors expand to more than \(limit) values")
    }
    if let anchor = node.anchor {
      var isScalar = false
      if case .scalar(let scalar) = node { isScalar = alias(scalar)?.isScalar ?? true }
      anchors[anchor.rawValue] = (size, isScalar)
    }
    return size
  }

  private func alias(_ scalar: Node.Scalar) -> (size: Int, isScalar: Bool)? {
    guard scalar.style == .plain, scalar.string.first == Self.marker else { return nil }
    return anchors[String(scalar.string.dropFirst())]
  }
}
