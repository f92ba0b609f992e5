import Torch

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
