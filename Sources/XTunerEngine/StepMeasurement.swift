import Torch

/// What one optimizer step's forward and backward passes measured, over all ranks.
package struct StepMeasurement {
  /// The loss: weighted mean of the negative log-likelihoods, without auxiliary losses.
  package var loss = 0.0
  /// The head's z-loss.
  package var zLoss = 0.0
  /// The routers' balance losses, summed over layers and rounds.
  package var balanceLoss = 0.0
  /// The routers' z-losses, summed over layers.
  package var routerZLoss = 0.0
  /// Tokens.
  package var tokenCount = 0
  /// Tokens with a loss.
  package var lossTokenCount = 0
  /// Rows of each expert, one list a mixture-of-experts layer.
  package var expertCounts: [[Int64]] = []
  /// The sum over samples of the squared length: what attention costs.
  package var squaredLengthSum = 0.0
  /// Seconds of this rank from the first layer to the loss; the head's gradient is made with the
  /// loss, and in it.
  package var forwardSeconds = 0.0
  /// Seconds of this rank from the loss to the last gradient.
  package var backwardSeconds = 0.0
  /// Seconds that this rank waited for gathers, reductions and exchanges.
  package var communicationSeconds = 0.0
  /// Rounds of micro-batches.
  package var roundCount = 0

  /// Nothing measured yet.
  package init() {}

  /// `(max - mean) / mean` of the experts' rows, averaged over layers; nil without experts.
  package var maximumViolation: Double? {
    let violations = expertCounts.compactMap { counts -> Double? in
      let mean = Double(counts.reduce(0, +)) / Double(max(counts.count, 1))
      guard mean > 0, let largest = counts.max() else { return nil }
      return (Double(largest) - mean) / mean
    }
    return violations.isEmpty ? nil : violations.reduce(0, +) / Double(violations.count)
  }

  /// What ranks add up, in the order of ``add(sums:)``.
  var sums: [Double] {
    [
      loss, zLoss, balanceLoss, routerZLoss, Double(tokenCount), Double(lossTokenCount),
      squaredLengthSum,
    ]
  }

  /// Replaces this rank's sums by those of all ranks, added in their order.
  mutating func replaceSums(by ranks: [[Double]]) {
    let total = ranks.dropFirst().reduce(ranks[0]) { zip($0, $1).map(+) }
    (loss, zLoss, balanceLoss, routerZLoss) = (total[0], total[1], total[2], total[3])
    (tokenCount, lossTokenCount) = (Int(total[4]), Int(total[5]))
    squaredLengthSum = total[6]
  }

  /// Adds the rows of each expert of a round.
  mutating func add(expertCounts counts: [[Int64]]) {
    guard !expertCounts.isEmpty else {
      expertCounts = counts
      return
    }
    for (layer, layerCounts) in counts.enumerated() {
      for (expert, count) in layerCounts.enumerated() { expertCounts[layer][expert] += count }
    }
  }
}

/// Numbers of a step that are still on the device: they are read together when all of it has been
/// issued, so that nothing inside the step waits for the device.
struct StepReadings {
  private struct Number {
    let tensor: Tensor
    let sum: WritableKeyPath<StepMeasurement, Double>
    let factor: Double
  }

  private var numbers: [Number] = []
  /// Rows of each expert of each layer in a round, `[L, E]` int64 where all layers have as many.
  private var tables: [Tensor] = []

  /// A float32 scalar that is added, times `factor`, to a sum of the measurement.
  mutating func add(
    _ tensor: Tensor, to sum: WritableKeyPath<StepMeasurement, Double>, factor: Double = 1
  ) {
    numbers.append(Number(tensor: tensor, sum: sum, factor: factor))
  }

  /// Rows of each expert of a round, `[L, E]` int64.
  mutating func add(expertCounts table: Tensor) { tables.append(table) }

  /// Adds those of a later round.
  mutating func append(_ other: StepReadings) {
    numbers += other.numbers
    tables += other.tables
  }

  /// Reads everything, in the order in which it was added; waits for the device.
  func read(into measurement: inout StepMeasurement) {
    if !numbers.isEmpty {
      let values = Tensor.stacked(numbers.map { $0.tensor.view([]) }, dim: 0).floats()
      for (number, value) in zip(numbers, values) {
        measurement[keyPath: number.sum] += Double(value) * number.factor
      }
    }
    for table in tables {
      let (rows, width) = (table.integers(), table.size(1))
      measurement.add(
        expertCounts: stride(from: 0, to: rows.count, by: width).map {
          Array(rows[$0..<$0 + width])
        })
    }
  }
}
