/// A family of tiktoken vocabularies: the files hold ranks only, so the split pattern and the
/// special tokens come from here.
public enum TokenizerFamily: String, Sendable, CaseIterable {
  /// gpt-oss; `o200k_base.tiktoken`.
  case o200kHarmony = "o200k_harmony"
  /// Kimi K2; `tiktoken.model` with `tokenizer_config.json` beside it.
  case kimiK2 = "kimi_k2"
  /// GPT-4; `cl100k_base.tiktoken`.
  case cl100k
  /// The first Qwen; `qwen.tiktoken`.
  case qwen

  private static let contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
  private static let upper = "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
  private static let lower = "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"

  /// The split pattern of the Qwen families since Qwen 2; every digit is a piece of its own.
  public static let qwenPattern =
    contraction + "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    + "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

  /// The pattern whose matches and gaps are the pieces.
  public var pattern: String {
    switch self {
    case .o200kHarmony:
      return Self.words(Self.upper, Self.lower)
        + "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    case .kimiK2:
      let words = Self.words(Self.upper + "&&[^\\p{Han}]", Self.lower + "&&[^\\p{Han}]")
      return "[\\p{Han}]+|" + words
        + "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    case .cl100k:
      return Self.contraction + "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
        + "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    case .qwen: return Self.qwenPattern
    }
  }

  private static func words(_ upper: String, _ lower: String) -> String {
    let start = "[^\\r\\n\\p{L}\\p{N}]?"
    return "\(start)[\(upper)]*[\(lower)]+\(contraction)?"
      + "|\(start)[\(upper)]+[\(lower)]*\(contraction)?"
  }

  /// Whether text is composed (NFC) first.
  var composesText: Bool { self == .qwen }

  /// The special tokens used when no `tokenizer_config.json` lists them; nil if one is needed.
  func builtInTokens(rankCount: Int) -> [AddedToken]? {
    switch self {
    case .kimiK2: return nil
    case .qwen:
      let names =
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + (0..<205).map { "<|extra_\($0)|>" }
      return Self.tokens(names, from: rankCount)
    case .cl100k:
      return [
        (100257, "<|endoftext|>"), (100258, "<|fim_prefix|>"), (100259, "<|fim_middle|>"),
        (100260, "<|fim_suffix|>"), (100276, "<|endofprompt|>"),
      ].map { AddedToken(id: $0.0, content: $0.1) }
    case .o200kHarmony:
      var names = (199998...201087).map { "<|reserved_\($0)|>" }
      for (id, name) in [
        (199998, "<|startoftext|>"), (199999, "<|endoftext|>"), (200002, "<|return|>"),
        (200003, "<|constrain|>"), (200005, "<|channel|>"), (200006, "<|start|>"),
        (200007, "<|end|>"), (200008, "<|message|>"), (200012, "<|call|>"),
        (200018, "<|endofprompt|>"),
      ] {
        names[id - 199998] = name
      }
      return Self.tokens(names, from: 199998)
    }
  }

  /// The slots for special tokens that the family always has, named or not.
  func reservedTokens(rankCount: Int) -> [AddedToken] {
    guard self == .kimiK2 else { return [] }
    return (rankCount..<rankCount + 256).map {
      AddedToken(id: Int32($0), content: "<|reserved_token_\($0)|>")
    }
  }

  private static func tokens(_ names: [String], from first: Int) -> [AddedToken] {
    names.enumerated().map { AddedToken(id: Int32(first + $0.offset), content: $0.element) }
  }

  /// The family that `tokenizer_class` or the file's name tells, or nil.
  static func recognized(tokenizerClass: String?, fileName: String) -> TokenizerFamily? {
    switch tokenizerClass {
    case "TikTokenTokenizer": return .kimiK2
    case "QWenTokenizer": return .qwen
    default: break
    }
    switch fileName {
    case "o200k_base.tiktoken", "o200k_harmony.tiktoken": return .o200kHarmony
    case "cl100k_base.tiktoken": return .cl100k
    case "qwen.tiktoken": return .qwen
    default: return nil
    }
  }
}
