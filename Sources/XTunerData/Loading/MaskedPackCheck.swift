import XTunerText

/// Whether too many packs of an epoch have no token with a loss.
///
/// Samples without a label are left out when they are tokenised; what is left of a conversation that
/// packs cut may still be a piece without one.
struct MaskedPackCheck {
  /// Packs that are looked at, evenly spread over the epoch: enough for a share, and few to read.
  static let packLimit = 4096
  private static let shownFileCount = 5

  let table: SampleTable
  let plan: PackPlan

  /// Throws where more than `maximumShare` of the packs have no label, naming the files.
  func check(maximumShare: Double) throws(LoaderError) {
    let lookedAt = min(plan.packCount, Self.packLimit)
    var maskedCount = 0
    var files: [ExactText: Int] = [:]
    for index in 0..<lookedAt {
      // In full width: packs times the limit fit easily.
      let pieces = plan.pieces(inPack: index * plan.packCount / lookedAt)
      guard !pieces.contains(where: table.hasLabel) else { continue }
      maskedCount += 1
      for file in Set<ExactText>(pieces.map(table.file)) { files[file, default: 0] += 1 }
    }
    guard Double(maskedCount) > maximumShare * Double(lookedAt) else { return }
    let worst = files.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    let shown = worst.prefix(Self.shownFileCount).map { "\($0.key): \($0.value)" }
    let rest = worst.count - shown.count
    throw LoaderError(
      .mostlyMasked,
      """
      data: \(maskedCount) of \(lookedAt) packs have no token with a loss (at most \
      \((maximumShare * 1000).rounded() / 10) % allowed by data.max_masked_share): raise \
      data.sequence_length, or use data.packing best_fit, which does not cut conversations. \
      By file: \(shown.joined(separator: "; "))\(rest > 0 ? "; and \(rest) more files" : "")
      """)
  }
}

extension SampleTable {
  /// Whether any token of a piece carries a loss; the first of a piece never does.
  func hasLabel(_ piece: PackPiece) -> Bool {
    let (samples, index) = place(of: piece.sample)
    let (length, labelCount) = (samples.length(at: index), samples.lossTokenCount(at: index))
    guard labelCount > 0, piece.length > 1 else { return false }
    // Without reading the labels: they are all in the piece, or each token but the first has one.
    if piece.length == length || labelCount >= length - 1 { return true }
    var tokens: [Int32] = []
    var labels: [Int32] = []
    samples.append(
      at: index, range: piece.start..<piece.start + piece.length, tokens: &tokens,
      labels: &labels)
    return labels.contains { $0 != TokenizedSample.ignoredLabel }
  }

  /// The file of a piece's record; the source's name where it is not known.
  func file(_ piece: PackPiece) -> String {
    let (samples, index) = place(of: piece.sample)
    return samples.origin(at: index)?.file ?? sources[source(of: piece.sample)].name
  }

  private func place(of sample: Int) -> (samples: any SampleStore, index: Int) {
    let source = source(of: sample)
    return (sources[source].samples, sample - bases[source])
  }
}
