/// Finds what a person meant by a misspelt name.
package enum Spelling {
  /// The candidate closest to `word`, if it is close enough to be what was meant.
  ///
  /// At most a third of the letters may differ (at least two edits); a swap of two neighbours is
  /// one edit; a name that merely lacks its end or its beginning counts as close.
  package static func suggestion(for word: String, among candidates: [String]) -> String? {
    // Nobody means an option by a page of text, and the comparison grows with it.
    guard word.utf8.count <= 100 else { return nil }
    let folded = normalized(word)
    let limit = max(2, folded.count / 3)
    let scored = candidates.enumerated().map { index, candidate in
      (score: distance(folded, normalized(candidate)), index: index, candidate: candidate)
    }
    if let best = scored.min(by: { ($0.score, $0.index) < ($1.score, $1.index) }),
      best.score <= limit, best.score < max(folded.count, 1)
    {
      return best.candidate
    }
    guard folded.count >= 3 else { return nil }
    let text = String(folded)
    return candidates.first {
      let name = String(normalized($0))
      return name.hasPrefix(text) || text.hasPrefix(name) || name.hasSuffix(text)
    }
  }

  /// Optimal string alignment distance: insertions, deletions, substitutions, neighbour swaps.
  package static func distance(_ first: [Character], _ second: [Character]) -> Int {
    var beforePrevious: [Int] = []
    var previous = Array(0...second.count)
    for row in 0..<first.count {
      var current = [row + 1]
      for column in 0..<second.count {
        let isSame = first[row] == second[column]
        var best = min(previous[column + 1] + 1, current[column] + 1)
        best = min(best, previous[column] + (isSame ? 0 : 1))
        if row > 0, column > 0, first[row] == second[column - 1], first[row - 1] == second[column] {
          best = min(best, beforePrevious[column - 1] + 1)
        }
        current.append(best)
      }
      beforePrevious = previous
      previous = current
    }
    return previous[second.count]
  }

  /// `learningRate`, `learning-rate` and `Learning_Rate` are all the same to a person.
  private static func normalized(_ word: String) -> [Character] {
    var result: [Character] = []
    for character in word where character != "_" && character != "-" {
      result += Array(character.lowercased())
    }
    return result
  }
}
