import Testing
import Torch

@testable import XTunerTrainer

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

  @Test func theRateOfACPUIsMeasured() {
    #expect(Throughput.peak(dtype: .float32, device: .cpu) > 1e8)
  }
}
