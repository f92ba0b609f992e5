import Foundation
package import Torch

/// What the machine can do at best, and what the process uses.
package enum Throughput {
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
