import Testing

@testable import XTunerParallel

/// Sizes of a model, of which only some degrees are divisors.
private struct Model: Sendable, CustomTestStringConvertible {
  var expertCount: Int?
  var expertSize: Int?
  var headCount: Int
  var keyValueHeadCount: Int

  static let mixture = Model(
    expertCount: 12, expertSize: 40, headCount: 12, keyValueHeadCount: 2)
  static let dense = Model(headCount: 8, keyValueHeadCount: 4)

  var testDescription: String { expertCount.map { "\($0) experts" } ?? "dense" }

  func problems(_ layout: ParallelLayout) -> [String] {
    layout.problems(
      expertCount: expertCount, expertSize: expertSize, headCount: headCount,
      keyValueHeadCount: keyValueHeadCount
    ).map { "\($0.key): \($0.reason)" }
  }

  func nearest(_ layout: ParallelLayout, limit: Int = 3) -> [ParallelLayout] {
    ParallelLayout.nearest(
      to: layout, expertCount: expertCount, expertSize: expertSize, headCount: headCount,
      keyValueHeadCount: keyValueHeadCount, limit: limit)
  }
}

@Suite struct ParallelLayoutPlaceTests {
  typealias Group = (name: String, size: (ParallelLayout) -> Int, ranks: (Int) -> [Int])

  private func groups(_ layout: ParallelLayout) -> [Group] {
    [
      ("shard", \.shard, layout.shardRanks), ("replicate", \.replicate, layout.replicateRanks),
      ("expert", { $0.expert * $0.expertTensor }, layout.expertRanks),
      ("expertShard", \.expertShard, layout.expertShardRanks),
      ("sequence", \.sequence, layout.sequenceRanks),
    ]
  }

  @Test(arguments: 1...8)
  func everyKindOfGroupPartitionsTheWorld(worldSize: Int) {
    let layouts = ParallelLayout.all(worldSize: worldSize)
    #expect(Set(layouts).count == layouts.count)
    for layout in layouts {
      for group in groups(layout) {
        let sets = (0..<worldSize).map(group.ranks)
        for (rank, ranks) in sets.enumerated() {
          #expect(ranks.contains(rank), "\(group.name) of \(layout)")
          #expect(ranks == ranks.sorted() && ranks.count == group.size(layout))
          #expect(ranks.allSatisfy { sets[$0] == ranks }, "\(group.name) of \(layout)")
        }
        #expect(Set(sets).reduce(0) { $0 + $1.count } == worldSize)
      }
    }
  }

  @Test(arguments: 1...8)
  func ranksThatShareExpertsAreThoseWithTheSameIndices(worldSize: Int) {
    for layout in ParallelLayout.all(worldSize: worldSize) {
      for rank in 0..<worldSize {
        func selects(_ ranks: [Int], _ isSame: (Int) -> Bool) {
          #expect(ranks == (0..<worldSize).filter(isSame), "rank \(rank) of \(layout)")
        }
        let copy = layout.replicateIndex(of: rank)
        selects(layout.shardRanks(of: rank)) { layout.replicateIndex(of: $0) == copy }
        selects(layout.replicateRanks(of: rank)) {
          layout.shardIndex(of: $0) == layout.shardIndex(of: rank)
        }
        selects(layout.expertRanks(of: rank)) {
          layout.replicateIndex(of: $0) == copy
            && layout.expertShardIndex(of: $0) == layout.expertShardIndex(of: rank)
        }
        selects(layout.expertShardRanks(of: rank)) {
          layout.replicateIndex(of: $0) == copy
            && layout.expertIndex(of: $0) == layout.expertIndex(of: rank)
            && layout.tensorIndex(of: $0) == layout.tensorIndex(of: rank)
        }
        selects(layout.sequenceRanks(of: rank)) {
          layout.dataRank(of: $0) == layout.dataRank(of: rank)
        }
        #expect(layout.sequenceRanks(of: rank)[layout.sequenceIndex(of: rank)] == rank)
        #expect(
          layout.expertRanks(of: rank)[
            layout.expertIndex(of: rank) * layout.expertTensor + layout.tensorIndex(of: rank)]
            == rank)
      }
    }
  }

  @Test func placesOfAWorldWithEveryAxis() {
    let layout = ParallelLayout(
      worldSize: 24, replicate: 2, expert: 3, expertTensor: 2, sequence: 4)
    #expect(layout.shard == 12)
    #expect(layout.expertShard == 2)
    #expect(layout.dataRankCount == 6)
    // 21 = 1 x 12 + 9, and 9 = (1 x 3 + 1) x 2 + 1.
    #expect(layout.replicateIndex(of: 21) == 1)
    #expect(layout.shardIndex(of: 21) == 9)
    #expect(layout.expertShardIndex(of: 21) == 1)
    #expect(layout.expertIndex(of: 21) == 1)
    #expect(layout.tensorIndex(of: 21) == 1)
    #expect(layout.sequenceIndex(of: 21) == 1)
    #expect(layout.dataRank(of: 21) == 5)
    #expect(layout.replicateRanks(of: 21) == [9, 21])
    #expect(layout.expertRanks(of: 21) == [18, 19, 20, 21, 22, 23])
    #expect(layout.expertShardRanks(of: 21) == [15, 21])
    #expect(layout.sequenceRanks(of: 21) == [20, 21, 22, 23])
  }

  @Test func oneProcessIsAloneInEveryGroup() {
    #expect(groups(.single).allSatisfy { $0.ranks(0) == [0] })
  }
}

@Suite struct ParallelLayoutProblemTests {
  private func layout(
    _ replicate: Int, _ expert: Int, _ expertTensor: Int, _ sequence: Int
  ) -> ParallelLayout {
    ParallelLayout(
      worldSize: 4, replicate: replicate, expert: expert, expertTensor: expertTensor,
      sequence: sequence)
  }

  @Test func allProblemsComeAtOnce() {
    #expect(
      Model.mixture.problems(layout(3, 5, 7, 5)) == [
        "parallel.replicate: must divide the number of processes (4), is 3",
        "parallel.expert: must divide the model's expert count (12), is 5",
        "parallel.expert_tensor: must divide the model's expert width (40), is 7",
        "parallel.sequence: must divide the model's attention heads (12), is 5",
      ])
    #expect(
      Model.mixture.problems(layout(2, 4, 1, 4)) == [
        "parallel.expert: must divide the processes of one replica (4 / 2 = 2), is 4",
        "parallel.sequence: must divide the processes of one replica (4 / 2 = 2), is 4",
      ])
  }

  @Test func degreesMustFitTheWorldTogether() {
    #expect(
      Model.mixture.problems(layout(1, 4, 2, 1)) == [
        "parallel.expert: times expert_tensor must divide the number of processes (4), is 4 x 2"
      ])
    #expect(
      Model.mixture.problems(layout(1, 1, 8, 1)) == [
        "parallel.expert_tensor: must divide the number of processes (4), is 8"
      ])
    #expect(
      Model.mixture.problems(layout(8, 1, 1, 1)) == [
        "parallel.replicate: must divide the number of processes (4), is 8"
      ])
  }

  @Test func aModelWithoutExpertsRefusesExpertDegrees() {
    #expect(
      Model.dense.problems(layout(1, 2, 2, 1)) == [
        "parallel.expert: must be 1 for a model without experts, is 2",
        "parallel.expert_tensor: must be 1 for a model without experts, is 2",
      ])
  }

  @Test func keyValueHeadsMayBeRepeatedButNotTorn() {
    let model = Model(headCount: 12, keyValueHeadCount: 3)
    #expect(
      model.problems(layout(1, 1, 1, 4)) == [
        """
        parallel.sequence: must divide the model's key-value heads (3) or be a multiple of them, \
        is 4
        """
      ])
    #expect(Model(headCount: 12, keyValueHeadCount: 2).problems(layout(1, 1, 1, 4)).isEmpty)
    #expect(Model(headCount: 12, keyValueHeadCount: 8).problems(layout(1, 1, 1, 4)).isEmpty)
    #expect(
      Model(headCount: 2, keyValueHeadCount: 1).problems(layout(1, 1, 1, 4))
        == ["parallel.sequence: must divide the model's attention heads (2), is 4"])
  }

  @Test func degreesBelowOneAreProblemsAndNothingElse() {
    #expect(
      Model.mixture.problems(layout(0, -1, 1, 5)) == [
        "parallel.replicate: must be at least 1, is 0",
        "parallel.expert: must be at least 1, is -1",
      ])
  }

  @Test(arguments: 1...8, [Model.mixture, .dense])
  private func nearestLayoutsAreUsable(worldSize: Int, model: Model) {
    for replicate in 0...9 {
      for expert in 1...9 {
        for (expertTensor, sequence) in [(1, 1), (2, 3), (5, 2), (7, 9)] {
          let asked = ParallelLayout(
            worldSize: worldSize, replicate: replicate, expert: expert, expertTensor: expertTensor,
            sequence: sequence)
          let nearest = model.nearest(asked)
          #expect(!nearest.isEmpty && nearest.count <= 3)
          #expect(nearest.allSatisfy { model.problems($0).isEmpty && $0.worldSize == worldSize })
          if model.problems(asked).isEmpty { #expect(nearest[0] == asked) }
        }
      }
    }
  }

  @Test func nearestChangesAsLittleAsPossible() {
    #expect(Model.mixture.nearest(layout(1, 3, 1, 1), limit: 1) == [layout(1, 4, 1, 1)])
    #expect(
      Model.mixture.nearest(layout(2, 2, 1, 4), limit: 2)
        == [layout(1, 2, 1, 4), layout(2, 2, 1, 2)])
    #expect(Model.dense.nearest(layout(1, 2, 1, 2), limit: 1) == [layout(1, 1, 1, 2)])
    #expect(
      layout(1, 4, 1, 2).settings == "{replicate: 1, expert: 4, expert_tensor: 1, sequence: 2}")
  }
}
