import Foundation
package import Torch
import XTunerSystem

/// What the machine can do at best, and what the process uses.
package enum Throughput {
  /// The base of MFU, FLOP/s: of a CPU what it does at best, of a GPU the dense rate of its data sheet.
  ///
  /// A GPU's clock falls under load, so what it does at best in a short product is no more honest a
  /// base than the data sheet, and another one in every run. Unknown GPUs, and f32, are measured.
  package static func peak(dtype: DType, device: Device) -> Double {
    if let rate = dataSheetRate(dtype: dtype, device: device) { return rate }
    return matrixProductPeak(dtype: dtype, device: device, size: fullSize(dtype, device))
  }

  /// The dense rate of a GPU's data sheet, FLOP/s; nil where ``peak(dtype:device:)`` measures.
  package static func dataSheetRate(dtype: DType, device: Device) -> Double? {
    guard dtype == .bfloat16, let gpu = Accelerator.gpu(device) else { return nil }
    return bfloat16Rate(ofGPU: gpu.name)
  }

  /// The first size whose product takes a millisecond or more, as long as it is one of these.
  ///
  /// A processor without instructions for `dtype` may be a hundred times slower than others of its kind: a
  /// start must not wait for minutes of products of a size that suits those.
  private static func fullSize(_ dtype: DType, _ device: Device) -> Int {
    var (size, largest) = device.kind == .cpu ? (128, 1024) : (1024, 8192)
    while size < largest {
      let rate = matrixProductPeak(dtype: dtype, device: device, size: size, rounds: 1)
      if operationCount(size) / rate > 1e-3 { break }
      size *= 2
    }
    return size
  }

  /// FLOP of a product of square matrices.
  private static func operationCount(_ size: Int) -> Double { 2 * pow(Double(size), 3) }

  /// Dense bfloat16 FLOP/s as NVIDIA's data sheets have them (half of what they print with
  /// sparsity); nil for a GPU that is not in the list.
  package static func bfloat16Rate(ofGPU name: String) -> Double? {
    let rates: [(name: String, rate: Double)] = [
      ("H100 PCIe", 756e12), ("H100 NVL", 835e12), ("H100", 989.4e12), ("H200", 989.4e12),
      ("A100", 312e12), ("B200", 2250e12), ("L40S", 362e12),
    ]
    return rates.first { name.contains($0.name) }?.rate
  }

  /// The best rate of a square matrix product in `dtype`, FLOP/s: libtorch's product or the one that layers
  /// compute with, whichever is faster on this processor.
  ///
  /// Of a slow processor fewer rounds are measured: they end after `limit`.
  package static func matrixProductPeak(
    dtype: DType, device: Device = .cpu, size: Int, rounds: Int = 5,
    limit: Duration = .milliseconds(250)
  ) -> Double {
    withoutGradients {
      let generator = Generator(seed: 1)
      let a = Tensor.randomNormal([size, size], generator: generator, dtype: .float32)
        .to(dtype).to(device)
      let b = Tensor.randomNormal([size, size], generator: generator, dtype: .float32)
        .to(dtype).to(device)
      let products: [() -> Void] = [
        { _ = a.matrixProduct(b) }, { _ = Tensor.linear(a, weight: b) },
      ]
      // The first round is for what is done once.
      return bestRate(
        of: products, operationCount: operationCount(size), rounds: rounds + 1, limit: limit
      ) { product in
        ContinuousClock().measure {
          product()
          device.synchronize()
        }
      }
    }
  }

  /// The rate of the shortest of `rounds` runs of each product, FLOP/s, as `measure` times them.
  ///
  /// No round begins after `limit`, and a product that took four times the shortest is not run again; its
  /// first run, which may include what is done once, does not count against it.
  static func bestRate(
    of products: [() -> Void], operationCount: Double, rounds: Int, limit: Duration,
    measure: (() -> Void) -> Duration
  ) -> Double {
    var (best, total) = (Duration.seconds(1_000_000), Duration.zero)
    var last = [Duration?](repeating: nil, count: products.count)
    for round in 0..<rounds where total < limit {
      for (index, product) in products.enumerated() where last[index] ?? .zero < best * 4 {
        let time = measure(product)
        (best, total) = (min(best, time), total + time)
        if round > 0 { last[index] = time }
      }
    }
    return operationCount / best.seconds
  }

  /// The process's largest resident memory so far, in bytes.
  package static func peakMemoryBytes() -> Int? {
    guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8) else {
      return nil
    }
    for line in status.split(separator: "\n") where line.hasPrefix("VmHWM:") {
      let digits = line.filter(\.isNumber)
      return Int(digits).map { $0 * 1024 }
    }
    return nil
  }
}

/// The base of MFU over a run, which a step that is faster corrects.
///
/// What is measured while the machine has other work is too low: then MFU would be above 1.
package struct PeakRate {
  /// Measurements of a run after the first one, which cost a moment each.
  static let repetitionLimit = 5

  /// FLOP/s of all ranks at best, as far as is known.
  private(set) var value: Double
  private let isMeasured: Bool
  private var repetitionsLeft = PeakRate.repetitionLimit

  /// A rate that was measured, or that of a data sheet, which stands.
  package init(_ value: Double, isMeasured: Bool) {
    self.value = value
    self.isMeasured = isMeasured
  }

  /// The share of the rate that a step reached.
  ///
  /// A step that is faster makes it be measured again, a few times in a run. Nil where it is faster than
  /// all that was measured: then there is nothing to compare with.
  package mutating func utilization(
    operationCount: Double, seconds: Double, measure: () throws -> Double
  ) rethrows -> Double? {
    let rate = operationCount / seconds
    guard isMeasured else { return rate / value }
    if rate > value && repetitionsLeft > 0 {
      repetitionsLeft -= 1
      value = max(value, try measure())
    }
    return rate <= value ? rate / value : nil
  }
}
