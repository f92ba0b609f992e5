import CTorch
import Foundation

/// What of NVIDIA's GPUs this program can use: the driver, its devices, and `libXTunerCUDA.so`.
///
/// The plug-in lies beside the program and is opened while it runs, with `libtorch_cuda.so`, so that
/// the program also starts where there is neither. Whether it fits is read from its file before, since
/// opening it would already register its operators.
public struct CUDAPlugin: Sendable {
  /// One GPU.
  public struct Device: Sendable, Equatable {
    /// Such as `NVIDIA H200`.
    public let name: String
    /// Such as `9.0`.
    public let computeCapability: String
    /// Bytes.
    public let memory: Int
    /// The number of streaming multiprocessors.
    public let multiprocessorCount: Int
  }

  /// Why the GPUs cannot be used.
  public struct Problem: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kind, for tests and metrics.
    public enum Code: String, Sendable {
      case noDriver
      case driverTooOld
      case noDevice
      case noPlugin
      case brokenPlugin
      case pluginForOtherTorch
      case torchWithoutCUDA
      case cannotOpen
    }

    /// The kind.
    public let code: Code
    /// A sentence that names the thing and what would work.
    public let message: String

    /// The message.
    public var description: String { message }
  }

  /// The version of CUDA that the driver supports, such as `13.0`; nil without a driver.
  public let driverVersion: String?
  /// The GPUs that the driver shows, in its order.
  public let devices: [Device]
  /// The plug-in's file, whether it is there or not.
  public let path: String
  /// All that is in the way; empty where the GPUs can be used.
  public let problems: [Problem]

  private let torchLibrary: String

  /// Looks for the driver and the plug-in, without opening the plug-in.
  ///
  /// - Parameters:
  ///   - folder: Where the plug-in lies: the program's.
  ///   - torchFolder: Where libtorch lies; nil for that of the one in use.
  ///   - torchVersion: The version of the libtorch in use.
  ///   - driverLibrary: The driver's library.
  public init(
    in folder: String, torchFolder: String? = nil, torchVersion: String = Torch.version,
    driverLibrary: String = "libcuda.so.1"
  ) {
    path = Self.path(in: folder)
    torchLibrary = "\(torchFolder ?? Torch.libraryFolder)/libtorch_cuda.so"
    var problems: [Problem] = []
    let marker = Self.marker(of: path)
    switch marker {
    case .success(let marker):
      if marker.torch != torchVersion {
        problems.append(
          Problem(
            code: .pluginForOtherTorch,
            message: """
              \(path) was compiled for libtorch \(marker.torch), and libtorch \(torchVersion) is \
              running; compile it again with make cuda
              """))
      }
    case .failure(let problem): problems.append(problem)
    }
    if !FileManager.default.fileExists(atPath: torchLibrary) {
      problems.append(
        Problem(
          code: .torchWithoutCUDA,
          message: """
            this libtorch has no CUDA: there is no \(torchLibrary); use the wheel of torch \
            \(torchVersion) for CUDA 13
            """))
    }
    let needed = try? marker.get().cuda
    switch Self.driver(driverLibrary, needed: needed) {
    case .success(let driver):
      driverVersion = Self.text(ofVersion: driver.version)
      devices = driver.devices
      if let problem = driver.problem { problems.append(problem) }
    case .failure(let problem):
      driverVersion = nil
      devices = []
      problems.append(problem)
    }
    self.problems = problems
  }

  /// Opens libtorch's CUDA library and the plug-in, for the rest of the process.
  ///
  /// - Throws: The first of ``problems``, or `.cannotOpen` with the linker's message.
  public func open() throws(Problem) {
    if let problem = problems.first { throw problem }
    // Streams of one hardware queue wait for each other, which may be for another rank. CUDA's own number
    // is 8; a rank has as many for its groups, swaps and computation.
    setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0)
    for library in [torchLibrary, path] {
      guard ct_open_library(library) == .OK else {
        throw Problem(
          code: .cannotOpen,
          message: """
            \(library) cannot be opened: \(String(cString: ct_last_error())); on a machine without \
            torch's own packages, scripts/cuda.sh --runtime fetches CUDA's libraries
            """)
      }
    }
  }

  /// Where the plug-in of programs in `folder` is.
  static func path(in folder: String) -> String { "\(folder)/libXTunerCUDA.so" }

  /// Which library attention was given to in this process, a line for each class of shapes that was
  /// measured, with the times of both; empty where the plug-in is not open or nothing was measured.
  public static var attentionChoices: [String] {
    var text = [CChar](repeating: 0, count: 1 << 16)
    ct_cuda_attention_choices(&text, Int64(text.count))
    let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
  }

  // MARK: - The plug-in's file

  private struct Marker {
    let torch: String
    let cuda: Int
  }

  /// What the plug-in says of itself in its file.
  private static func marker(of path: String) -> Result<Marker, Problem> {
    guard let file = try? Data(contentsOf: URL(fileURLWithPath: path), options: .mappedIfSafe)
    else {
      return .failure(
        Problem(code: .noPlugin, message: "there is no \(path); compile it with make cuda"))
    }
    let start = Data("XTunerCUDA plug-in: libtorch=".utf8)
    guard let range = file.range(of: start),
      let end = file[range.upperBound...].prefix(100).firstIndex(of: UInt8(ascii: ";"))
    else { return .failure(broken(path)) }
    let words = String(decoding: file[range.upperBound..<end], as: UTF8.self)
      .split(separator: " cuda=")
    guard words.count == 2, let cuda = Int(words[1]) else { return .failure(broken(path)) }
    return .success(Marker(torch: String(words[0]), cuda: cuda))
  }

  private static func broken(_ path: String) -> Problem {
    Problem(
      code: .brokenPlugin,
      message: "\(path) is not the CUDA plug-in or is not whole; compile it again with make cuda")
  }

  // MARK: - The driver

  private struct Driver {
    let version: Int
    let devices: [Device]
    let problem: Problem?
  }

  private static func driver(_ library: String, needed: Int?) -> Result<Driver, Problem> {
    var version: Int32 = 0
    var count: Int32 = 0
    guard ct_cuda_driver(library, &version, &count) == .OK else {
      return .failure(
        Problem(
          code: .noDriver,
          message: "there is no working NVIDIA driver: \(String(cString: ct_last_error()))"))
    }
    var devices: [Device] = []
    for index in 0..<count {
      var device = CTCudaDevice()
      guard ct_cuda_device(library, index, &device) == .OK else {
        return .failure(
          Problem(
            code: .noDriver,
            message: "the NVIDIA driver fails: \(String(cString: ct_last_error()))"))
      }
      let name = withUnsafeBytes(of: device.name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      devices.append(
        Device(
          name: name, computeCapability: "\(device.major).\(device.minor)",
          memory: Int(device.memory), multiprocessorCount: Int(device.processors)))
    }
    return .success(
      Driver(
        version: Int(version), devices: devices,
        problem: problem(version: Int(version), needed: needed, devices: devices)))
  }

  private static func problem(version: Int, needed: Int?, devices: [Device]) -> Problem? {
    if let needed, version < needed {
      return Problem(
        code: .driverTooOld,
        message: """
          the NVIDIA driver supports CUDA \(text(ofVersion: version)), the plug-in needs \
          \(text(ofVersion: needed)); install a newer driver (CUDA 13.0 came with 580)
          """)
    }
    if devices.isEmpty {
      return Problem(
        code: .noDevice,
        message: """
          the NVIDIA driver shows no device; is CUDA_VISIBLE_DEVICES empty, or the device not given \
          to this container?
          """)
    }
    return nil
  }

  /// `13.0` for 13000.
  private static func text(ofVersion version: Int) -> String {
    "\(version / 1000).\(version % 1000 / 10)"
  }
}

extension Torch {
  /// The folder of the libtorch in use.
  public static var libraryFolder: String {
    var folder: UnsafePointer<CChar>?
    torchCall("libraryFolder") { ct_torch_folder(&folder) }
    return folder.map { String(cString: $0) } ?? "."
  }
}
