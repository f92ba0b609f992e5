import Foundation
import XTunerCheckpoint
import XTunerData
import XTunerInput
import XTunerRun
import XTunerSystem
import XTunerTrainer

/// Where a command is asked to write, checked before it begins its work.
///
/// One rule for all commands: nothing that a command reads is written over, a link is followed, what
/// is no regular file is written to as it is, and folders on the way to a file are made.
enum OutputName {
  /// Refuses a file name that is also an input, and makes the folder around it.
  ///
  /// - Parameters:
  ///   - option: The option that named it, such as `--out`.
  ///   - path: The file.
  ///   - inputs: Every file and folder that the command reads; of a folder, what lies in it.
  /// - Throws: `CommandFailure` of usage, or of storage where the folder cannot be made.
  static func checkFile(
    _ option: String, _ path: String, inputs: [String]
  ) throws(CommandFailure) {
    guard let status = status(path) else { return try makeFolder(around: path, option) }
    guard status.st_mode & S_IFMT != S_IFDIR else {
      throw CommandFailure(.usage, "\(option) \(path): is a folder; give the name of a file")
    }
    guard status.st_mode & S_IFMT == S_IFREG else { return }
    for input in inputs {
      for file in [input] + files(in: input) {
        guard let other = self.status(file), isSame(status, other) else { continue }
        let place =
          file == input ? "" : ", where \(URL(fileURLWithPath: file).lastPathComponent) is"
        throw CommandFailure(
          .usage,
          "\(option) \(path): is the input \(input)\(place); choose a file that is not read")
      }
    }
  }

  /// Refuses a folder that is an input, that holds one, or that lies in one of `sealed`.
  ///
  /// A command that replaces a folder removes everything in it.
  static func checkFolder(
    _ option: String, _ path: String, inputs: [String], sealed: [String] = []
  ) throws(CommandFailure) {
    let folder = resolved(path)
    for input in inputs where isInside(resolved(input), folder) {
      throw CommandFailure(
        .usage,
        "\(option) \(path): is or holds the input \(input); choose a folder that is not read")
    }
    for input in sealed where isInside(folder, resolved(input)) {
      throw CommandFailure(
        .usage, "\(option) \(path): lies in the input \(input); choose a folder outside")
    }
  }

  /// The data files that a path stands for, or the path itself where it stands for none.
  static func dataFiles(_ path: String) -> [String] {
    (try? RecordSource(paths: [path]).files()) ?? [path]
  }

  private static func makeFolder(
    around path: String, _ option: String
  ) throws(CommandFailure) {
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent()
    do {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    } catch {
      throw CommandFailure(
        .storage, "\(option) \(path): \(folder.path): \(SystemReason.text(error))")
    }
  }

  private static func isSame(_ first: stat, _ second: stat) -> Bool {
    first.st_dev == second.st_dev && first.st_ino == second.st_ino
  }

  private static func status(_ path: String) -> stat? {
    var status = stat()
    return stat(path, &status) == 0 ? status : nil
  }

  private static func files(in folder: String) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return names.map { "\(folder)/\($0)" }
  }

  /// The absolute path behind all links, of which the last parts need not exist.
  private static func resolved(_ path: String) -> String {
    URL(fileURLWithPath: path).resolvingSymlinksInPath().standardizedFileURL.path
  }

  private static func isInside(_ path: String, _ folder: String) -> Bool {
    path == folder || path.hasPrefix(folder.hasSuffix("/") ? folder : "\(folder)/")
  }
}
