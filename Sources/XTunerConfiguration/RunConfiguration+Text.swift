import Crypto
import Foundation

extension RunConfiguration {
  /// One option whose value differs between two configurations.
  public struct Difference: Sendable, Equatable, CustomStringConvertible {
    /// Dotted path of the option.
    public var keyPath: String
    /// The value in the other configuration, as YAML on one line.
    public var old: String
    /// The value in this configuration, as YAML on one line.
    public var new: String

    /// The option with both values.
    public var description: String { "\(keyPath) was \(old), is \(new)" }
  }

  /// The resolved configuration as YAML that loads to an equal value.
  ///
  /// - Parameter commented: Whether each option carries its meaning, type and default.
  /// - Returns: Every option of every section, defaults included.
  public func yaml(commented: Bool = false) -> String {
    let blocks = Self.sections.map { section in
      var lines = commented ? ["# \(section.summary)"] : []
      lines.append("\(section.name):")
      for (option, entry) in zip(section.options, section.encode(self)) {
        if commented { lines += Self.comment(for: option) }
        lines += ConfigurationValue.mapping([entry]).yamlLines(indent: 2)
      }
      return lines.joined(separator: "\n")
    }
    return blocks.joined(separator: commented ? "\n\n" : "\n") + "\n"
  }

  /// SHA-256 of the resolved configuration, in hexadecimal digits.
  ///
  /// Equal configurations have equal hashes, however their files were written.
  public var hash: String {
    SHA256.hash(data: Data(yaml().utf8))
      .map { byte in byte < 16 ? "0\(String(byte, radix: 16))" : String(byte, radix: 16) }
      .joined()
  }

  /// The options that have other values in `old`, in the order of the documentation.
  public func differences(from old: RunConfiguration) -> [Difference] {
    Self.sections.flatMap { section in
      zip(section.encode(old), section.encode(self)).compactMap { before, after in
        guard before != after else { return nil }
        return Difference(
          keyPath: "\(section.name).\(after.key)", old: before.value.flow, new: after.value.flow)
      }
    }
  }

  private static func comment(for option: OptionDescription) -> [String] {
    let facts = "Type: \(option.typeName). Default: \(option.defaultText)."
    return (TextWrapping.lines(option.meaning, width: 94) + TextWrapping.lines(facts, width: 94))
      .map { "  # \($0)" }
  }
}

/// Breaks prose into lines.
enum TextWrapping {
  /// Lines of at most `width` characters, broken at spaces; a longer word stays whole.
  static func lines(_ text: String, width: Int) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if line.isEmpty {
        line = String(word)
      } else if line.count + 1 + word.count <= width {
        line += " \(word)"
      } else {
        lines.append(line)
        line = String(word)
      }
    }
    if !line.isEmpty { lines.append(line) }
    return lines
  }
}

extension RunConfiguration {
  /// The resolved configuration as one JSON object with a member a section.
  ///
  /// - Parameter indent: Spaces a level, or `nil` for one line.
  /// - Returns: JSON text without a final line break.
  public func json(indent: Int? = nil) -> String {
    let sections = Self.sections.map { section in
      ConfigurationValue.Entry(section.name, .mapping(section.encode(self)))
    }
    return ConfigurationValue.mapping(sections).json(indent: indent)
  }
}
