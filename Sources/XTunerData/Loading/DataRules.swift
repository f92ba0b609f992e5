/// The rules by which data becomes steps; a run keeps those that it began with.
///
/// Which samples are held out, what becomes of long texts by default and in which order packs come
/// follow from them, so a run that an earlier version saved goes on as it would have then.
public enum DataRules: Int, Sendable, Codable, CaseIterable {
  /// Packs come in the order in which they were laid out; the fingerprint does not cover labels.
  case version1 = 1
  /// Packs are mixed by seed and epoch, see `PackOrder`; the fingerprint covers labels.
  case version2 = 2

  /// What new runs follow.
  public static let current = version2
}
