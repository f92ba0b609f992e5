extension DataStatistics {
  /// The statistics in plain ASCII, for a terminal of `width` columns or, without a width, a file.
  public func text(width: Int? = nil) -> String {
    let tableWidth = width ?? .max
    var lines = sourceTable().lines(width: tableWidth)
    if let counts = countTable() {
      lines.append("")
      lines += counts.lines(width: tableWidth)
    }
    let losses = sources.flatMap { source in
      (source.counts?.losses ?? []).map { "\(source.name): \($0)" }
    }
    if !losses.isEmpty {
      lines.append("")
      lines += losses
    }
    lines.append("")
    lines.append("Lengths of all samples, in tokens")
    lines += histogram(width: width ?? 80)
    lines.append("")
    lines.append("Packing to \(TextTable.grouped(sequenceLength)) tokens, one epoch")
    lines += packingTable().lines(width: tableWidth)
    for mode in packing {
      if let problem = mode.problem {
        lines.append("\(mode.mode.rawValue): \(problem)")
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private var rows: [SourceStatistics] {
    sources.count == 1 ? sources : sources + [total]
  }

  private func sourceTable() -> TextTable {
    var table = TextTable(
      header: [
        "source", "weight", "samples", "tokens", "loss tokens", "masked", "mean", "p50", "p90",
        "p99", "max",
      ])
    for source in rows {
      let lengths = source.lengths
      table.rows.append([
        source.name,
        TextTable.fixed(source.weight, digits: 2),
        TextTable.grouped(source.samples),
        TextTable.grouped(source.tokens),
        TextTable.grouped(source.lossTokens),
        TextTable.percent(source.maskedTokenShare),
        TextTable.fixed(lengths.mean, digits: 1),
        TextTable.grouped(lengths.p50),
        TextTable.grouped(lengths.p90),
        TextTable.grouped(lengths.p99),
        TextTable.grouped(lengths.maximum),
      ])
    }
    return table
  }

  private func countTable() -> TextTable? {
    var table = TextTable(
      header: [
        "source", "records", "samples", "truncated", "too long", "split", "no loss", "empty",
        "refused",
        "unreadable",
      ])
    for source in rows {
      guard let counts = source.counts else { continue }
      let numbers = [
        counts.records, counts.samples, counts.truncated, counts.droppedOverlong,
        counts.splitTexts, counts.fullyMasked, counts.empty, counts.failed,
        counts.unreadable,
      ]
      table.rows.append([source.name] + numbers.map(TextTable.grouped))
    }
    return table.rows.isEmpty ? nil : table
  }

  private func histogram(width: Int) -> [String] {
    let bins = total.lengths.histogram
    let labels = bins.map { bin in
      bin.minimum == bin.maximum
        ? TextTable.grouped(bin.minimum)
        : "\(TextTable.grouped(bin.minimum))-\(TextTable.grouped(bin.maximum))"
    }
    let counts = bins.map { TextTable.grouped($0.count) }
    let labelWidth = labels.map(\.count).max() ?? 0
    let countWidth = counts.map(\.count).max() ?? 0
    let barWidth = max(10, width - labelWidth - countWidth - 3)
    let largest = max(1, bins.map(\.count).max() ?? 1)
    return bins.indices.map { index in
      // Every bin that is not empty shows at least one mark.
      let share = Double(bins[index].count) / Double(largest)
      let marks = Int((share * Double(barWidth)).rounded(.up))
      let label = String(repeating: " ", count: labelWidth - labels[index].count) + labels[index]
      let count = String(repeating: " ", count: countWidth - counts[index].count) + counts[index]
      let bar = String(repeating: "#", count: marks)
      return "\(label) \(count)\(bar.isEmpty ? "" : " ")\(bar)"
    }
  }

  private func packingTable() -> TextTable {
    var table = TextTable(header: ["mode", "packs", "filled", "samples a pack"])
    for mode in packing {
      let isUsable = mode.problem == nil
      table.rows.append([
        mode.mode.rawValue,
        isUsable ? TextTable.grouped(mode.packs) : "-",
        isUsable ? TextTable.percent(mode.efficiency) : "-",
        isUsable ? TextTable.fixed(mode.piecesPerPack, digits: 2) : "-",
      ])
    }
    return table
  }
}
