extension TokenizingCounts {
  /// What of the source is not trained, a sentence each with its share; empty where nothing is lost.
  public var losses: [String] {
    var sentences: [String] = []
    let candidates = TextTable.grouped(samples + droppedOverlong + fullyMasked)
    if let tokens {
      let all = tokens.kept + tokens.lost
      if tokens.cutOff > 0 {
        let cut = TextTable.grouped(truncated + tokens.samplesCutToNothing)
        sentences.append(
          """
          \(Self.share(tokens.cutOff, of: all)) of the tokens were cut off: \(cut) of \(candidates) \
          samples are longer than the sequence length
          """)
      }
      if tokens.droppedOverlong > 0 {
        sentences.append(
          """
          \(Self.share(tokens.droppedOverlong, of: all)) of the tokens were left out: \
          \(TextTable.grouped(droppedOverlong)) of \(candidates) samples are longer than the \
          sequence length
          """)
      }
      if tokens.fullyMasked > 0 {
        let cut = TextTable.grouped(tokens.samplesCutToNothing)
        let cause = tokens.samplesCutToNothing > 0 ? ", \(cut) of them because of the cut" : ""
        sentences.append(
          """
          \(Self.share(tokens.fullyMasked, of: all)) of the tokens were left out: \
          \(TextTable.grouped(fullyMasked)) of \(candidates) samples have no token with a loss\(cause)
          """)
      }
    } else if truncated > 0 {
      sentences.append(
        """
        \(TextTable.grouped(truncated)) of \(candidates) samples were cut to the sequence length; \
        how many tokens that cost is not known, because the token cache is of an earlier version
        """)
    }
    if failed > 0 {
      sentences.append(
        """
        \(Self.share(failed, of: records)) of the records were left out: the template refused \
        \(TextTable.grouped(failed)) of \(TextTable.grouped(records))
        """)
    }
    if unreadable > 0 {
      sentences.append(
        """
        \(Self.share(unreadable, of: records + unreadable)) of the records were left out: \
        \(TextTable.grouped(unreadable)) of \(TextTable.grouped(records + unreadable)) are broken
        """)
    }
    return sentences
  }

  /// A part that is not zero as a percentage, never rounded to nothing or to all.
  private static func share(_ part: Int, of whole: Int) -> String {
    let percentage = 100 * Double(part) / Double(max(whole, 1))
    switch percentage {
    case 100...: return "100 %"
    case ..<0.1: return "less than 0.1 %"
    case 99.95...: return "more than 99.9 %"
    default: return "\(TextTable.fixed(percentage, digits: 1)) %"
    }
  }
}
