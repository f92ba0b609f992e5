import Testing
import Torch
import XTunerParallel

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

// Exchanges against a plain computation on rank 0's knowledge of all ranks' numbers. Rows are
// numbered over all ranks, so where each one went can be read off its values.

/// Rows to experts and back, with any counts.
@Suite(.serialized) struct ExpertExchangeTests {
  /// Rows of each expert, one list a rank.
  static let loads: [[[Int]]] = [
    [[3, 1, 2, 5], [2, 2, 0, 7]],
    // A rank without tokens; then no tokens at all; then one expert with everything.
    [[0, 0, 0, 0], [1, 0, 4, 0]],
    [[0, 0, 0, 0], [0, 0, 0, 0]],
    [[0, 0, 13, 0], [0, 0, 11, 0]],
    [
      [1, 0, 0, 0, 2, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0, 0], [5, 4, 3, 2, 1, 0, 0, 1],
      [1, 1, 1, 1, 1, 1, 1, 1],
    ],
  ]

  @Test(arguments: loads, [1, 2])
  func rowsReachTheirExpertsAndComeBack(_ load: [[Int]], tensorDegree: Int) throws {
    let ranks = load.count
    guard ranks >= tensorDegree else { return }
    let degree = ranks / tensorDegree
    let layout = ParallelLayout(
      worldSize: ranks, expert: degree, expertTensor: tensorDegree)
    let results = try runMesh(layout) { mesh in
      let exchange = ExpertExchange(
        ExchangeQueue(mesh.expert), expertDegree: degree, tensorDegree: tensorDegree)
      let counts = load[mesh.rank]
      let rows = Self.rows(load, rank: mesh.rank)
      let sent = exchange.send(
        rows, countsE: Tensor(counts.map(Int64.init)), known: nil, label: "test")
      let arrived = try sent.rows.wait()[0]
      let again = try exchange.resend(rows, route: sent.route, label: "again").wait()[0]
      let back = try exchange.collect(arrived, route: sent.route, label: "back").wait()[0]
      return [rows.floats(), arrived.floats(), again.floats(), back.floats()]
    }
    for (rank, result) in results.enumerated() {
      let place = rank / tensorDegree
      #expect(result[1] == Self.expected(load, place: place, degree: degree), "rank \(rank)")
      #expect(result[2] == result[1])
      // Every rank that has a part of the expert sent the row back as it came.
      #expect(result[3] == result[0].map { $0 * Float(tensorDegree) })
    }
  }

  /// `[R, 2]`: the number of a row over all ranks and its expert.
  private static func rows(_ load: [[Int]], rank: Int) -> Tensor {
    var values: [Float] = []
    var number = Float(rank * 1000)
    for (expert, count) in load[rank].enumerated() {
      for _ in 0..<count {
        values += [number, Float(expert)]
        number += 1
      }
    }
    return Tensor(values, shape: [values.count / 2, 2])
  }

  /// The rows of a place's experts: expert by expert, and for each rank by rank.
  private static func expected(_ load: [[Int]], place: Int, degree: Int) -> [Float] {
    let share = load[0].count / degree
    var values: [Float] = []
    for expert in place * share..<(place + 1) * share {
      for (rank, counts) in load.enumerated() {
        let first = counts[..<expert].reduce(0, +)
        for row in first..<first + counts[expert] {
          values += [Float(rank * 1000 + row), Float(expert)]
        }
      }
    }
    return values
  }
}

/// Slices of tokens against slices of heads.
@Suite(.serialized) struct SequenceExchangeTests {
  /// Ranks, tokens, query heads, key-value heads: a prime count of tokens, fewer tokens than ranks,
  /// none, and fewer key-value heads than ranks.
  struct Sizes: Sendable {
    var ranks: Int
    var tokens: Int
    var heads: Int
    var keyValueHeads: Int
  }

  static let sizes = [
    Sizes(ranks: 2, tokens: 13, heads: 4, keyValueHeads: 2),
    Sizes(ranks: 2, tokens: 1, heads: 2, keyValueHeads: 2),
    Sizes(ranks: 2, tokens: 0, heads: 4, keyValueHeads: 4),
    Sizes(ranks: 4, tokens: 3, heads: 8, keyValueHeads: 2),
    Sizes(ranks: 4, tokens: 29, heads: 4, keyValueHeads: 1),
    Sizes(ranks: 3, tokens: 17, heads: 6, keyValueHeads: 3),
  ]

  @Test(arguments: sizes)
  func headsAndTokensChangePlaces(_ sizes: Sizes) throws {
    let layout = ParallelLayout(worldSize: sizes.ranks, sequence: sizes.ranks)
    _ = try runMesh(layout) { mesh in
      let exchange = SequenceExchange(ExchangeQueue(mesh.sequence))
      let (tokens, rank) = (sizes.tokens, mesh.rank)
      let slice = SequenceExchange.slices(tokenCount: tokens, count: sizes.ranks)[rank]
      func whole(_ heads: Int, _ size: Int, seed: UInt64) -> Tensor {
        Tensor.randomNormal(
          [tokens, heads, size], generator: Generator(seed: seed), dtype: .float32)
      }
      func own(_ tensor: Tensor) -> Tensor {
        tensor.narrowed(dim: 0, start: slice.lowerBound, length: slice.count)
      }
      let query = whole(sizes.heads, 3, seed: 1)
      let (key, value) = (
        whole(sizes.keyValueHeads, 3, seed: 2), whole(sizes.keyValueHeads, 5, seed: 3)
      )
      let arrived = try exchange.toHeads(
        [own(query), own(key), own(value)], tokenCount: tokens, label: "heads"
      ).wait()
      let share = sizes.heads / sizes.ranks
      let queries = query.narrowed(dim: 1, start: rank * share, length: share)
      #expect(arrived[0].floats() == queries.contiguous().floats())
      // Each query head finds the key-value head that belongs to it.
      let group = sizes.heads / sizes.keyValueHeads
      let groupHere = share / arrived[1].size(1)
      for head in 0..<share {
        let wanted = (rank * share + head) / group
        for (whole, here) in [(key, arrived[1]), (value, arrived[2])] {
          let expected = whole.narrowed(dim: 1, start: wanted, length: 1).contiguous().floats()
          let found = here.narrowed(dim: 1, start: head / groupHere, length: 1).contiguous()
          #expect(found.floats() == expected)
        }
      }
      let mixed = try exchange.toTokens(queries.contiguous(), label: "tokens").wait()[0]
      #expect(mixed.floats() == own(query).contiguous().floats())
      let returned = try exchange.toTokensBackward(
        own(query), tokenCount: tokens, label: "tokens gradient"
      ).wait()[0]
      #expect(returned.floats() == queries.contiguous().floats())
      try Self.checkGradient(exchange, arrived, sizes, mesh)
    }
  }

  /// The gradient is the transpose: with ones everywhere it counts on how many ranks a head is.
  private static func checkGradient(
    _ exchange: SequenceExchange, _ arrived: [Tensor], _ sizes: Sizes, _ mesh: ProcessMesh
  ) throws {
    let gradients = try exchange.toHeadsBackward(
      arrived.map { $0.onesLike() }, keyValueHeadCount: sizes.keyValueHeads, label: "gradient"
    ).wait()
    #expect(gradients[0].floats().allSatisfy { $0 == 1 })
    let copies = Float(max(sizes.ranks / sizes.keyValueHeads, 1))
    #expect(gradients[1].floats().allSatisfy { $0 == copies })
    #expect(gradients[2].floats().allSatisfy { $0 == copies })
  }
}
