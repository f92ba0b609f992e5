import Foundation
package import Torch

/// What the machine can do at best, and what the process uses.
package enum Throughput {
  /// The base of MFU, FLOP/s: of a CPU what it does at best, of a GPU the dense rate of its data sheet.
  ///
  /// A GPU's clock falls under load, so what it does at best in a short product is no more honest a
  /// base than the data sheet, and another one in every run. Unknown GPUs, and f32, are measured.
  package static func peak(dtype: DType, device: Device) -> Double {
    guard device.kind != .cpu else { return matrixProductPeak(dtype: dtype) }
    if dtype == .bfloat16, let gpu = Accelerator.gpu(device),
      let rate = bfloat16Rate(ofGPU: gpu.name)
    {
      return rate
    }
    return matrixProductPeak(dtype: dtype, device: device, size: fullSize(dtype, device))
  }

  /// A size whose product takes a millisecond or two, as long as it is one of these.
  private static func fullSize(_ dtype: DType, _ device: Device) -> Int {
    var size = 1024
    while size < 8192 {
      let rate = matrixProductPeak(dtype: dtype, device: device, size: size, rounds: 1)
      if 2 * Double(size * size * size) / rate > 1e-3 { break }
      size *= 2
    }
    return size
  }

  /// Dense bfloat16 FLOP/s as NVIDIA's data sheets have them (half of what they print with
  /// sparsity); nil for a GPU that is not in the list.
  package static func bfloat16Rate(ofGPU name: String) -> Double? {
    let rates: [(name: String, rate: Double)] = [
      ("H100 PCIe", 756e12), ("H100 NVL", 835e12), ("H100", 989.4e12), ("H200", 989.4e12),
      ("A100", 312e12), ("B200", 2250e12), ("L40S", 362e12),
    ]
    return rates.first { name.contains($0.name) }?.rate
  }

  /// The best rate of a square matrix product in `dtype`, FLOP/s: the base of MFU.
  ///
  /// 1024 is large enough for libtorch's full rate and takes milliseconds.
  package static func matrixProductPeak(
    dtype: DType, device: Device = .cpu, size: Int = 1024, rounds: Int = 5
  ) -> Double {
    withoutGradients {
      let generator = Generator(seed: 1)
      let a = Tensor.randomNormal([size, size], generator: generator, dtype: .float32)
        .to(dtype).to(device)
      let b = Tensor.randomNormal([size, size], generator: generator, dtype: .float32)
        .to(dtype).to(device)
      _ = a.matrixProduct(b)
      device.synchronize()
      var best = Duration.seconds(1_000_000)
      for _ in 0..<rounds {
        best = min(
          best,
          ContinuousClock().measure {
            _ = a.matrixProduct(b)
            device.synchronize()
          })
      }
      return 2 * Double(size) * Double(size) * Double(size) / best.seconds
    }
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

extension Duration {
  /// The duration in seconds.
  package var seconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}
