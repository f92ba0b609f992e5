import Testing
import Torch

@testable import XTunerEngine

@Suite struct ThroughputTests {
  /// Dense bfloat16 rates of the data sheets.
  @Test(arguments: [
    ("NVIDIA H200", 989.4e12), ("NVIDIA H100 80GB HBM3", 989.4e12), ("NVIDIA H100 PCIe", 756e12),
    ("NVIDIA A100-SXM4-80GB", 312e12),
  ])
  func knownGPUsHaveTheRateOfTheirDataSheet(name: String, rate: Double) {
    #expect(Throughput.bfloat16Rate(ofGPU: name) == rate)
  }

  @Test func otherGPUsAreMeasured() {
    #expect(Throughput.bfloat16Rate(ofGPU: "NVIDIA GeForce RTX 4090") == nil)
  }

  /// Measures two products, of which run `i` takes `milliseconds(product, i)`; also how often each ran.
  private func measure(
    rounds: Int, limit: Duration, milliseconds: (Int, Int) -> Int
  ) -> (rate: Double, runs: [Int]) {
    var runs = [0, 0]
    var current = 0
    let rate = Throughput.bestRate(
      of: [{ current = 0 }, { current = 1 }], operationCount: 2e9, rounds: rounds, limit: limit
    ) { product in
      product()
      defer { runs[current] += 1 }
      return .milliseconds(milliseconds(current, runs[current]))
    }
    return (rate, runs)
  }

  /// The shortest run of any product counts, whichever it is and when it comes.
  @Test(arguments: [
    [[900, 40, 50], [70, 60, 80]], [[900, 70, 60], [80, 50, 40]], [[40, 90, 90], [70, 70, 70]],
  ])
  func theRateIsThatOfTheFastestProduct(milliseconds: [[Int]]) {
    let (rate, runs) = measure(rounds: 3, limit: .seconds(10)) { milliseconds[$0][$1] }
    #expect(runs == [3, 3])
    #expect(abs(rate / 5e10 - 1) < 1e-12)
  }

  /// A processor may be a hundred times slower at one product, or at all: a start does not wait for that.
  @Test(arguments: [([2000, 20], [1, 1]), ([90, 20], [2, 5]), ([400, 300], [2, 2])])
  func slowProductsAreNotRepeated(milliseconds: [Int], expected: [Int]) {
    let (rate, runs) = measure(rounds: 5, limit: .seconds(1)) { product, _ in
      milliseconds[product]
    }
    #expect(runs == expected)
    #expect(abs(rate * Double(milliseconds.min()!) / 2e12 - 1) < 1e-12)
  }

  @Test func aStepThatIsFasterThanTheBaseMakesItBeMeasuredAgain() {
    var base = PeakRate(100, isMeasured: true)
    var measurementCount = 0
    func share(_ operations: Double, measuring rate: Double) -> Double? {
      base.utilization(operationCount: operations, seconds: 2) {
        measurementCount += 1
        return rate
      }
    }
    #expect(share(50, measuring: 1) == 0.25 && measurementCount == 0)
    // It was measured on a busy machine: with the new base all is well.
    #expect(share(300, measuring: 200) == 0.75 && measurementCount == 1)
    #expect(share(200, measuring: 1) == 0.5 && measurementCount == 1)
    // Still faster than all that was measured: there is no share to tell, and no base is lost.
    #expect(share(500, measuring: 150) == nil && measurementCount == 2)
    #expect(share(200, measuring: 1) == 0.5)
    for _ in 0..<10 { #expect(share(500, measuring: 150) == nil) }
    #expect(measurementCount == PeakRate.repetitionLimit)
  }

  /// Of a GPU whose data sheet is known, nothing is measured.
  @Test func theRateOfADataSheetStands() {
    var base = PeakRate(100, isMeasured: false)
    let share = base.utilization(operationCount: 300, seconds: 2) {
      Issue.record("measured")
      return 1e9
    }
    #expect(share == 1.5)
  }
}
