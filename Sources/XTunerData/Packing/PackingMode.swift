/// How samples are laid into packs.
public enum PackingMode: String, Sendable, Codable, CaseIterable {
  /// Whole samples, each pack filled with the longest samples of the look-ahead that fit.
  case bestFit = "best_fit"
  /// Samples one after another, cut exactly at the sequence length.
  case split
  /// One sample a pack.
  case none
}
