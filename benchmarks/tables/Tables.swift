import Foundation

/// Prints tables that the pages in docs/ quote; benchmarks/README.md says which.
@main enum Tables {
  static func main() throws {
    let arguments = CommandLine.arguments.dropFirst()
    switch arguments.first {
    case "balance" where arguments.count == 1: try BalanceTables.printRules()
    case "assignment" where arguments.count == 1: try BalanceTables.printSeconds()
    case "domino" where arguments.count == 1: try DominoTable.print()
    default:
      FileHandle.standardError.write(
        Data("usage: xtuner-tables balance | assignment | domino\n".utf8))
      exit(64)
    }
  }
}
