import XTunerCommands
import XTunerTokenizers
import XTunerTrainer

/// `xtuner config`.
enum ConfigHandler {
  static func check(_ command: ConfigCheckCommand) throws -> RunExitCode {
    var problems: [ConfigurationError.Problem] = []
    do throws(ConfigurationError) {
      let configuration = try command.source.load()
      // Beyond the file itself: the model must be one that can be built.
      try checkModel(configuration)
      try checkTemplate(configuration)
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

  private static func checkModel(_ configuration: RunConfiguration) throws(ConfigurationError) {
    do {
      _ = try configuration.modelConfiguration()
    } catch let error as ConfigurationError {
      throw error
    } catch {
      throw configuration.error(at: "model", "\(error)")
    }
  }

  private static func checkTemplate(_ configuration: RunConfiguration) throws(ConfigurationError) {
    guard let name = configuration.data.template else { return }
    do throws(ChatTemplateError) {
      _ = try ChatTemplate.named(name)
    } catch {
      throw configuration.error(at: "data.template", error.description)
    }
  }
}
