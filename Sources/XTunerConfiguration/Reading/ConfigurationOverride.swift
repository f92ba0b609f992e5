import Foundation
import XTunerText

/// A `--set key.path=value` of the command line.
struct ConfigurationOverride {
  /// Keys from the root; a whole number indexes a list.
  let path: [String]
  let value: ConfigurationNode
  let origin: ConfigurationOrigin

  /// Parses the text after `--set`; the value is YAML, usually a scalar.
  init(_ text: String, index: Int) throws(ConfigurationParser.Failure) {
    origin = .override(index)
    guard let equals = text.firstIndex(of: "=") else {
      throw .init(origin: origin, reason: "must be KEY=VALUE, such as training.steps=100")
    }
    path = text[..<equals].split(separator: ".", omittingEmptySubsequences: false)
      .map { $0.trimmingCharacters(in: .whitespaces) }
    guard path.allSatisfy({ !$0.isEmpty }) else {
      throw .init(
        origin: origin, reason: "must name a setting before =, such as training.steps=100")
    }
    let source = String(text[text.index(after: equals)...])
    let parsed: ConfigurationNode?
    do throws(ConfigurationParser.Failure) {
      parsed = try ConfigurationParser.parse(source) { _ in .override(index) }
    } catch {
      let reason = error.reason.replacing("is not YAML", with: "the value is not YAML")
      throw .init(origin: origin, keyPath: path.joined(separator: "."), reason: reason)
    }
    value = parsed ?? .init(content: .scalar("", isPlain: true), origin: origin)
  }

  /// Writes the value into a configuration, making sections that are missing.
  func apply(to root: ConfigurationNode) throws(ConfigurationParser.Failure) -> ConfigurationNode {
    try replacing(in: root, at: 0)
  }

  private func replacing(
    in node: ConfigurationNode?, at depth: Int
  ) throws(ConfigurationParser.Failure) -> ConfigurationNode {
    guard depth < path.count else { return value }
    let key = path[depth]
    let current = node.flatMap { $0.isNull ? nil : $0 }
    switch current?.content {
    case nil:
      let child = try replacing(in: nil, at: depth + 1)
      return .init(
        content: .mapping([.init(key: key, origin: origin, value: child)]), origin: origin)
    case .mapping(var entries):
      if let position = entries.firstIndex(where: { $0.key.isExactly(key) }) {
        let child = try replacing(in: entries[position].value, at: depth + 1)
        entries[position].value = child
        if depth + 1 == path.count { entries[position].origin = origin }
      } else {
        let child = try replacing(in: nil, at: depth + 1)
        entries.append(.init(key: key, origin: origin, value: child))
      }
      return .init(content: .mapping(entries), origin: current?.origin ?? origin)
    case .list(var items):
      guard let position = Int(key), items.indices.contains(position) else {
        throw failure(depth, "is a list of \(items.count); give an index below that, not \(key)")
      }
      items[position] = try replacing(in: items[position], at: depth + 1)
      return .init(content: .list(items), origin: current?.origin ?? origin)
    case .scalar:
      throw failure(depth, "is a value (\(current?.summary ?? "")) and has no key \(key)")
    }
  }

  private func failure(_ depth: Int, _ reason: String) -> ConfigurationParser.Failure {
    .init(origin: origin, keyPath: path[..<depth].joined(separator: "."), reason: reason)
  }
}
