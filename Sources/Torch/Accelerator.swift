import CTorch
import Foundation

/// Back ends for devices other than the CPU, which are libraries that a process opens when it needs
/// them.
public enum Accelerator {
  /// Makes devices of a kind usable in this process; nil when they are, else why they are not.
  ///
  /// Later calls answer at once.
  public static func load(_ kind: Device.Kind) -> String? {
    if kind == .cpu || Device.count(of: kind) > 0 { return nil }
    if Device.hasBackend(for: kind), kind != .privateUse {
      return "its back end is loaded and finds no device (is there one, and a driver for it?)"
    }
    switch kind {
    case .cpu: return nil
    case .cuda:
      do throws(CUDAPlugin.Problem) {
        try CUDAPlugin(in: programFolder).open()
      } catch {
        return error.message
      }
      return Device.count(of: kind) > 0
        ? nil : "the plug-in is loaded, and libtorch finds no device that it can use"
    case .privateUse:
      if let reason = Ascend.open() { return reason }
      return Device.count(of: kind) > 0
        ? nil
        : """
        torch_npu \(Ascend.recordedVersion) is loaded, its operators are the recorded ones, and it \
        finds no NPU (is there one, and its driver?)
        """
    }
  }

  /// What a device is called, such as `NVIDIA H200, compute capability 9.0, 139 GiB`; for those that say
  /// nothing, their kind.
  public static func model(of device: Device) -> String {
    guard let gpu = gpu(device) else { return "\(device.kind)" }
    return "\(gpu.name), compute capability \(gpu.computeCapability), \(gpu.memory >> 30) GiB"
  }

  /// What the driver says of a GPU; nil for other devices, and for one that it does not show.
  public static func gpu(_ device: Device) -> CUDAPlugin.Device? {
    guard device.kind == .cuda else { return nil }
    let (devices, index) = (CUDAPlugin(in: programFolder).devices, max(Int(device.index), 0))
    return index < devices.count ? devices[index] : nil
  }

  /// Where this program and its plug-ins lie.
  public static var programFolder: String {
    URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
      .path
  }
}
