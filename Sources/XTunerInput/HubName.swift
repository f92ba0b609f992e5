/// The name of a repository on the Hugging Face Hub, as people write it where a path is expected:
/// `Qwen/Qwen3-0.6B`, `hf://Qwen/Qwen3-0.6B@v1`, `hf://datasets/org/name` or its address.
package struct HubName: Sendable, Equatable {
  /// What a repository holds.
  package enum Kind: String, Sendable {
    case model
    case dataset
  }

  /// What the repository holds; a bare name does not tell, and is taken as the caller expects.
  package let kind: Kind
  /// `ORGANISATION/NAME`.
  package let repository: String
  /// The branch, tag or commit.
  package let revision: String

  /// Reads a name; nil for what can only be a path.
  package init?(_ text: String, expecting kind: Kind) {
    var kind = kind
    var rest = text[...]
    var isAddress = false
    for prefix in ["hf://", "https://huggingface.co/"] where rest.hasPrefix(prefix) {
      rest = rest.dropFirst(prefix.count)
      isAddress = true
    }
    var revision = "main"
    if isAddress {
      for (prefix, meaning) in [("datasets/", Kind.dataset), ("models/", .model)]
      where rest.hasPrefix(prefix) {
        rest = rest.dropFirst(prefix.count)
        kind = meaning
      }
      while rest.hasSuffix("/") { rest.removeLast() }
      if let at = rest.firstIndex(of: "@") {
        revision = String(rest[rest.index(after: at)...])
        rest = rest[..<at]
      }
    }
    let parts = rest.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, parts.allSatisfy(Self.isPart), Self.isPart(revision[...]) else {
      return nil
    }
    self.kind = kind
    repository = String(rest)
    self.revision = revision
  }

  /// The one command that fetches the repository into the Hub's cache.
  package var downloadCommand: String {
    let type = kind == .dataset ? " --repo-type dataset" : ""
    return "hf download \(repository)\(type)\(revision == "main" ? "" : " --revision \(revision)")"
  }

  /// The last part of the name.
  package var name: String { String(repository.split(separator: "/").last ?? "") }

  private static func isPart(_ text: Substring) -> Bool {
    guard let first = text.utf8.first, first != UInt8(ascii: "."), first != UInt8(ascii: "-") else {
      return false
    }
    return text.utf8.count <= 96
      && text.unicodeScalars.allSatisfy {
        $0.isASCII
          && ($0.properties.isAlphabetic || ("0"..."9").contains($0)
            || "._-".unicodeScalars.contains($0))
      }
  }
}
