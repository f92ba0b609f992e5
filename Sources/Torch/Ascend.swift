import CTorch
import Foundation

/// Ascend NPUs, through torch_npu's library.
///
/// Nothing here has been run on an NPU; `docs/ascend.md` says what was checked.
public enum Ascend {
  /// The version of torch_npu whose operators are recorded.
  public static var recordedVersion: String { String(cString: ct_ascend_recorded_version()) }

  /// Where torch_npu's library is expected: beside libtorch, as pip installs them.
  public static var libraryPath: String {
    let folder = URL(fileURLWithPath: Torch.libraryFolder)
    return folder.appendingPathComponent("../../torch_npu/lib/libtorch_npu.so")
      .standardizedFileURL.path
  }

  /// The plug-in for groups of HCCL, beside the program; nil where it was not built, or where NPUs are
  /// not those of torch_npu.
  static var groupPlugin: String? {
    guard ct_ascend_is_open() else { return nil }
    let path = "\(Accelerator.programFolder)/libXTunerAscend.so"
    return FileManager.default.fileExists(atPath: path) ? path : nil
  }

  /// Opens the library at `path` and maps our operators to its own; nil, or why that is not possible.
  package static func open(path: String = libraryPath) -> String? {
    guard FileManager.default.fileExists(atPath: path) else {
      return """
        there is no \(path); install torch-npu==\(recordedVersion) beside libtorch, without its \
        dependencies
        """
    }
    if let reason = versionMismatch(path: path) { return reason }
    if ct_ascend_open(path) != .OK {
      let message = String(cString: ct_last_error())
      return "the loader refuses \(path): \(message)\(hint(message))"
    }
    return registerOperators()
  }

  /// Maps our operators to those of the namespace `npu`, which must be the recorded ones; nil, or what
  /// differs.
  package static func registerOperators() -> String? {
    ct_ascend_register_operators() == .OK ? nil : String(cString: ct_last_error())
  }

  /// Takes the mapping away.
  package static func unregisterOperators() { ct_ascend_unregister_operators() }

  /// torch_npu 2.11.0.post3 is for libtorch 2.11.0 and no other.
  static func versionMismatch(path: String) -> String? {
    let file = URL(fileURLWithPath: path).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("version.py").path
    guard let text = try? String(contentsOfFile: file, encoding: .utf8),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix("__version__") }),
      let version = line.split(whereSeparator: { "'\"".contains($0) }).dropFirst().first
    else { return "\(file) does not say which version of torch_npu is there" }
    let release = version.split(separator: ".").prefix(3).joined(separator: ".")
    let own = Torch.version.split(separator: "+").first.map(String.init) ?? Torch.version
    guard release != own else { return nil }
    return """
      \(path) is torch_npu \(version), for libtorch \(release), and this is libtorch \(own); install \
      torch-npu==\(recordedVersion)
      """
  }

  /// Whose library is missing.
  private static func hint(_ message: String) -> String {
    let cann = ["libascendcl", "libhccl", "libacl", "libge_", "libgraph", "libruntime"]
    if cann.contains(where: { message.contains($0) }) {
      return "; that is CANN's: install it, and source its set_env.sh before xtuner is started"
    }
    if message.contains("libtorch_python") || message.contains("Py") {
      return "; torch_npu is linked with Python's libraries: use the libtorch of the CPU wheel"
    }
    return ""
  }
}
