import XTunerCommands
import XTunerConfiguration
import XTunerRun
import XTunerTokenizers
import XTunerTrainer

/// `xtuner config`.
enum ConfigHandler {
  static func check(_ command: ConfigCheckCommand) throws -> RunExitCode {
    var problems: [ConfigurationError.Problem] = []
    var findings: [(label: String, value: String)] = []
    do throws(ConfigurationError) {
      let configuration = try command.source.load()
      if !command.formOnly {
        let check = ConfigurationCheck(configuration)
        (problems, findings) = (check.problems, check.findings)
      }
    } catch {
      problems = error.problems
    }
    if command.json {
      let list = problems.map { problem in
        JSONValue.members([
          "location": .string(problem.location), "key": .string(problem.keyPath),
          "reason": .string(problem.reason),
        ])
      }
      Output.write(["valid": .bool(problems.isEmpty), "problems": .array(list)])
    } else if problems.isEmpty {
      Output.write("\(command.source.file): no problems")
      Output.write(rows: findings)
    } else {
      throw ConfigurationError(file: command.source.file, problems: problems)
    }
    return problems.isEmpty ? .success : .usage
  }

  static func show(_ command: ConfigShowCommand) throws {
    let configuration = try command.source.load()
    if command.json {
      Output.write(configuration.json())
    } else {
      Output.write(configuration.yaml(commented: command.comments), terminator: "")
    }
  }
}
