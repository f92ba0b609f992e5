package import Torch
package import XTunerConfiguration

extension RunConfiguration {
  /// The device that `run.device` means for a process.
  ///
  /// It becomes the current one of its kind on the calling thread.
  ///
  /// - Parameter localRank: This process among those of its machine, from 0.
  /// - Returns: The CPU, or the device of an accelerator with the process's own index.
  /// - Throws: `ConfigurationError` where the device that was asked for cannot be used, with the
  ///   reason and what would work.
  package func device(localRank: Int) throws(ConfigurationError) -> Device {
    switch run.device {
    case .cpu: return .cpu
    case .auto:
      for kind in [Device.Kind.cuda, .privateUse] where Accelerator.load(kind) == nil {
        return try device(kind, localRank: localRank)
      }
      try checkFloat8(on: "cpu")
      return .cpu
    case .cuda: return try device(.cuda, localRank: localRank)
    case .npu: return try device(.privateUse, localRank: localRank)
    }
  }

  private func device(
    _ kind: Device.Kind, localRank: Int
  ) throws(ConfigurationError) -> Device {
    let name = RunOptions.DeviceChoice(kind).rawValue
    if let reason = Accelerator.load(kind) {
      throw error(
        at: "run.device", "\(name) cannot be used: \(reason); cpu works everywhere, slower")
    }
    let count = Device.count(of: kind)
    guard localRank < count else {
      throw error(
        at: "run.device",
        """
        \(name): process \(localRank) of this machine (counted from 0) has no device of its own, \
        there are \(count); start at most \(count) process\(count == 1 ? "" : "es") a machine
        """)
    }
    let device = Device(kind: kind, index: Int8(localRank))
    try checkFloat8(
      on: name,
      computeCapability: model.float8 == .native ? Accelerator.gpu(device)?.computeCapability : nil)
    device.makeCurrent()
    return device
  }

  /// Rejects float8 that a device does not compute.
  ///
  /// `computeCapability` is that of a GPU, such as `9.0`; nil where it is not known, and elsewhere.
  func checkFloat8(
    on device: String, computeCapability: String? = nil
  ) throws(ConfigurationError) {
    switch (model.float8, device) {
    case (.none, _), (.emulated, "cpu"), (.emulated, "cuda"): return
    case (.emulated, _):
      throw error(
        at: "model.fp8",
        """
        emulated runs on CPUs and GPUs, and run.device \(run.device.rawValue) is \(device) here; set \
        run.device cpu, or model.fp8 none to train in \(model.dtype.rawValue) on \(device)
        """)
    case (.native, _):
      guard device != "cuda" || computeCapability != "9.0" else { return }
      let what =
        device == "cuda"
        ? "this one has \(computeCapability ?? "none that is known")"
        : "run.device \(run.device.rawValue) is \(device) here"
      throw error(
        at: "model.fp8",
        """
        native needs a GPU of compute capability 9.0 (H100, H200), and \(what); emulated \
        \(device == "npu" ? "works with run.device cpu" : "works here, slowly"), and none trains in \
        \(model.dtype.rawValue)
        """)
    }
  }
}

extension RunOptions.DeviceChoice {
  /// The choice that means a kind.
  package init(_ kind: Device.Kind) {
    switch kind {
    case .cpu: self = .cpu
    case .cuda: self = .cuda
    case .privateUse: self = .npu
    }
  }
}
