extension TokenizingOptions {
  /// Throws when no sample is left or more than `maximumMaskedShare` of them carry no label.
  ///
  /// The message names the worst files, so that a wrong template or field is found at once.
  public func check(_ files: [FileCounts]) throws(TokenizingError) {
    var total = TokenizingCounts()
    for file in files {
      total += file.counts
    }
    guard total.maskedShare(fullyMasked) <= maximumMaskedShare else {
      throw TokenizingError(
        .mostlyMasked,
        """
        \(total.fullyMasked) of \(candidateCount(total)) samples have no token with loss (at most \
        \(percent(maximumMaskedShare)) allowed): check that assistant messages exist, that their \
        loss is on and that truncation leaves them in. \(worstFiles(files))
        """)
    }
    guard total.samples > 0 else {
      throw TokenizingError(
        .noSamples,
        """
        no samples in \(fileNames(files)): \(total.records) records read, \(total.empty) empty, \
        \(total.droppedOverlong) over-long dropped, \(total.fullyMasked) fully masked, \
        \(total.failed) refused by the template
        """)
    }
  }

  private func candidateCount(_ counts: TokenizingCounts) -> Int {
    fullyMasked == .drop ? counts.samples + counts.fullyMasked : counts.samples
  }

  private func worstFiles(_ files: [FileCounts]) -> String {
    let masked = files.filter { $0.counts.fullyMasked > 0 }
      .sorted { $0.counts.fullyMasked > $1.counts.fullyMasked }
    let shown = masked.prefix(5).map { file in
      "\(file.file): \(file.counts.fullyMasked) of \(candidateCount(file.counts))"
    }
    let rest = masked.count > 5 ? "; and \(masked.count - 5) more files" : ""
    return "By file: \(shown.joined(separator: "; "))\(rest)"
  }

  private func fileNames(_ files: [FileCounts]) -> String {
    guard !files.isEmpty else { return "an empty list of files" }
    let rest = files.count > 5 ? " and \(files.count - 5) more files" : ""
    return files.prefix(5).map(\.file).joined(separator: ", ") + rest
  }

  private func percent(_ share: Double) -> String {
    "\((share * 1000).rounded() / 10) %"
  }
}
