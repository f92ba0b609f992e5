/// Checks of what a cache's manifest says: numbers that anyone may have written, with a right digest.
extension TokenCacheManifest {
  /// The most samples, tokens and records that are read as such; products and sums stay far from
  /// overflow.
  private static let largestCount = 1 << 48

  /// Throws where a count is impossible, where counts and sizes contradict each other, or where the cache
  /// was made for another key.
  func check(key: String?, path: String) throws(TokenCacheError) {
    func unusable(_ reason: String) -> TokenCacheError {
      TokenCacheError(.unusable, "\(path): \(reason)")
    }
    guard formatVersion == TokenCacheKey.currentFormatVersion else {
      throw unusable(
        "format version \(formatVersion), this program reads \(TokenCacheKey.currentFormatVersion)")
    }
    guard key == nil || key == self.key, (try? inputs.digest()) == self.key else {
      throw unusable("was made for other data or settings")
    }
    let range = 0...Self.largestCount
    let counts =
      [sampleCount, tokenCount, lossTokenCount, unreadableCount] + sources.flatMap(\.counts.all)
    if let count = counts.first(where: { !range.contains($0) }) {
      throw unusable("a count of \(count) is impossible")
    }
    let maskByteCount = (tokenCount + 7) / 8
    guard [2, 4].contains(tokenSize), lossTokenCount <= tokenCount,
      tokens.byteCount == tokenCount * tokenSize, mask.byteCount == maskByteCount,
      index.byteCount == Self.indexByteCount(sampleCount: sampleCount)
    else { throw unusable("counts and file sizes contradict each other") }
  }
}

extension TokenizingCounts {
  /// Every count.
  fileprivate var all: [Int] {
    [
      records, samples, truncated, droppedOverlong, splitTexts, fullyMasked, empty, failed,
      unreadable,
    ]
  }
}
