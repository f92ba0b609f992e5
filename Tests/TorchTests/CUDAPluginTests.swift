import Foundation
import Testing
import Torch

/// What is said where the CUDA plug-in cannot be used.
///
/// The driver is a library that the test compiles.
@Suite struct CUDAPluginTests {
  @Test func aMachineWithoutAnythingIsToldEverything() throws {
    let folder = try Folder()
    let plugin = CUDAPlugin(
      in: folder.path, torchFolder: folder.path, driverLibrary: "\(folder.path)/libcuda.so.1")
    #expect(plugin.problems.map(\.code) == [.noPlugin, .torchWithoutCUDA, .noDriver])
    #expect(plugin.devices.isEmpty)
    #expect(plugin.driverVersion == nil)
    let messages = plugin.problems.map(\.message)
    #expect(
      messages[0] == "there is no \(folder.path)/libXTunerCUDA.so; compile it with make cuda")
    #expect(messages[1].contains("there is no \(folder.path)/libtorch_cuda.so"))
    #expect(messages[2].contains("libcuda.so.1"))
    #expect { try plugin.open() } throws: { ($0 as? CUDAPlugin.Problem)?.code == .noPlugin }
  }

  @Test func devicesAreListedWithMemoryAndComputeCapability() throws {
    let folder = try Folder()
    let plugin = try folder.plugin(driverVersion: 13010, deviceCount: 2)
    #expect(plugin.problems.isEmpty)
    #expect(plugin.driverVersion == "13.1")
    #expect(plugin.devices.map(\.name) == ["Made GPU", "Made GPU"])
    #expect(plugin.devices.map(\.computeCapability) == ["9.0", "9.0"])
    #expect(plugin.devices.map(\.memory) == [150_000_000_019, 150_000_000_019])
    #expect(plugin.devices.map(\.multiprocessorCount) == [132, 132])
  }

  @Test func aPluginForAnotherLibtorchIsRefusedWithBothNamed() throws {
    let folder = try Folder()
    let plugin = try folder.plugin(torch: "2.10.1")
    #expect(plugin.problems.map(\.code) == [.pluginForOtherTorch])
    let message = try #require(plugin.problems.first?.message)
    #expect(message.contains("libtorch 2.10.1"))
    #expect(message.contains("libtorch \(Torch.version)"))
    #expect(throws: CUDAPlugin.Problem.self) { try plugin.open() }
  }

  @Test func anOldDriverIsRefusedWithBothVersions() throws {
    let folder = try Folder()
    let plugin = try folder.plugin(driverVersion: 12040, deviceCount: 1)
    #expect(plugin.problems.map(\.code) == [.driverTooOld])
    #expect(
      plugin.problems.first?.message
        == """
        the NVIDIA driver supports CUDA 12.4, the plug-in needs 13.0; install a newer driver \
        (CUDA 13.0 came with 580)
        """)
  }

  @Test func aDriverWithoutDevicesIsSaidToHaveNone() throws {
    let folder = try Folder()
    let plugin = try folder.plugin(driverVersion: 13000, deviceCount: 0)
    #expect(plugin.problems.map(\.code) == [.noDevice])
  }

  @Test func aDriverThatDoesNotStartIsQuoted() throws {
    let folder = try Folder()
    let driver = try folder.compileDriver(version: 13000, deviceCount: 1, initialStatus: 999)
    let plugin = CUDAPlugin(in: folder.path, driverLibrary: driver)
    let message = try #require(plugin.problems.last?.message)
    #expect(message.contains("cuInit"))
    #expect(message.contains("status 999: is the kernel's module loaded?"))
  }

  @Test func aFileThatIsNoPluginIsNotOpened() throws {
    let folder = try Folder()
    try folder.write("libXTunerCUDA.so", "XTunerCUDA plug-in: libtorch=2.11.0")
    let plugin = CUDAPlugin(in: folder.path, driverLibrary: "\(folder.path)/none.so")
    #expect(plugin.problems.first?.code == .brokenPlugin)
  }

  @Test func aLibraryThatCannotBeOpenedIsNamedWithTheLinkersReason() throws {
    let folder = try Folder()
    let plugin = try folder.plugin(torchLibrary: "not a library")
    #expect(plugin.problems.isEmpty)
    #expect {
      try plugin.open()
    } throws: { error in
      guard let problem = error as? CUDAPlugin.Problem else { return false }
      return problem.code == .cannotOpen && problem.message.contains("libtorch_cuda.so")
    }
  }

  @Test func libtorchSaysWhereItLies() {
    let library = "\(Torch.libraryFolder)/libtorch_cpu.so"
    #expect(FileManager.default.fileExists(atPath: library))
  }
}

/// A temporary folder with made libraries.
private final class Folder {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.path + "/cuda-plugin-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ name: String, _ text: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
  }

  /// A plug-in for CUDA 13.0 beside libtorch's library, with a driver.
  func plugin(
    torch: String = Torch.version, torchLibrary: String = "", driverVersion: Int = 13000,
    deviceCount: Int = 1
  ) throws -> CUDAPlugin {
    try write("libXTunerCUDA.so", "..XTunerCUDA plug-in: libtorch=\(torch) cuda=13000;..")
    try write("libtorch_cuda.so", torchLibrary)
    let driver = try compileDriver(version: driverVersion, deviceCount: deviceCount)
    return CUDAPlugin(in: path, torchFolder: path, driverLibrary: driver)
  }

  /// A library with the functions of the NVIDIA driver that are asked; returns its path.
  func compileDriver(version: Int, deviceCount: Int, initialStatus: Int = 0) throws -> String {
    try write(
      "driver.c",
      """
      #include <stddef.h>
      #include <string.h>
      int cuInit(unsigned flags) { return flags == 0 ? \(initialStatus) : 1; }
      int cuDriverGetVersion(int *version) { *version = \(version); return 0; }
      int cuDeviceGetCount(int *count) { *count = \(deviceCount); return 0; }
      int cuDeviceGet(int *device, int index) { *device = index; return 0; }
      int cuDeviceGetName(char *name, int size, int device) {
        strncpy(name, "Made GPU", (size_t)size);
        return 0;
      }
      int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 150000000019; return 0; }
      int cuDeviceGetAttribute(int *value, int which, int device) {
        *value = which == 75 ? 9 : which == 76 ? 0 : which == 16 ? 132 : -1;
        return 0;
      }
      """)
    let compiler = Process()
    compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    compiler.arguments = [
      "clang", "-shared", "-fPIC", "-o", "\(path)/libcuda.so.1", "\(path)/driver.c",
    ]
    try compiler.run()
    compiler.waitUntilExit()
    #expect(compiler.terminationStatus == 0)
    return "\(path)/libcuda.so.1"
  }
}
