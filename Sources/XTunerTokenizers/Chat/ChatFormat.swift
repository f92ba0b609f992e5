/// What a chat format is, as data.
///
/// A new model family is one more value of this type.
struct ChatFormat: Sendable {
  var layout: Layout
  /// Texts of the tokens that end an answer; generation stops at each of them.
  var stopTokens: [String]

  enum Layout: Sendable {
    /// Turns that follow each other, each between its marks.
    case turns(TurnFormat)
    /// Messages on channels, as gpt-oss uses them.
    case harmony(HarmonyFormat)
  }
}

/// A speaker as the message list names it.
enum ChatRole: String, Sendable, CaseIterable {
  case system, developer, user, assistant, tool
  /// Raw text without marks, learned as a whole.
  case pretrain
}

/// The marks around one turn: `open` + `name` + `close` + content + `stop` + `separator`.
struct TurnMarks: Sendable {
  var open: String
  /// The word between `open` and `close`, which the `name` of a message may replace.
  var name = ""
  var close = ""
  /// Ends the turn; learned together with the content.
  var stop = ""
  /// Stands between turns; never learned.
  var separator = ""
}

struct TurnFormat: Sendable {
  /// Stands before everything else.
  var bos = ""
  var system: SystemPlacement
  var user: TurnMarks
  var assistant: TurnMarks
  var developer = DeveloperPlacement.refused
  var assistantHeader = AssistantHeader.always
  /// Whether `name` of a message replaces the role word.
  var namesReplaceRoles = false
  var allowsAssistantFirst = true
  /// nil: the family does not reason, and reasoning in a message is an error.
  var thinking: ThinkingFormat?
  /// nil: the family has no tools.
  var tools: ToolFormat?

  enum AssistantHeader: Sendable {
    case always
    /// Left out when the answer follows a tool result.
    case unlessAfterTool
    /// Written only when the answer follows a question.
    case afterUser
    /// Belongs to the user's message, whatever follows it.
    case behindUser
    /// Belongs to the user's message and to each tool result, whatever follows them.
    case behindUserAndTool
  }

  enum DeveloperPlacement: Sendable {
    /// The published text writes no such message, or writes it without marks.
    case refused
    /// Written as a system message.
    case asSystem
    /// A turn of its own.
    case turn(TurnMarks)
  }

  enum SystemPlacement: Sendable {
    /// A turn wherever the message stands; `fallback` is put first when there is none.
    case turn(TurnMarks, fallback: String?)
    /// All system messages together, separated by blank lines, right after `bos`.
    case prologue
  }
}

/// How reasoning is written into an answer.
struct ThinkingFormat: Sendable {
  var open: String
  var close: String
  /// Whether `open` is already part of the generation prompt, so that the model never writes it.
  var isOpenPrompted = false
  /// Whether line breaks around the reasoning, and before the answer, are removed.
  var trimsLineBreaks = false
  /// Which reasoning a rendered prompt shows.
  var shownInPrompt: Visibility
  /// Which reasoning of the last round training shows; that of earlier rounds it never shows.
  var shownInTraining = TrainingVisibility.lastRound
  /// Stands at answers whose reasoning is not shown.
  var absent = ""
  var absentPlace = AbsentPlace.everyAnswer
  /// Whether the model writes `absent` itself, but for what ends the generation prompt already.
  var learnsAbsence = false
  /// What happens to text up to `</think>` in the content itself.
  var embedded: EmbeddedReasoning
  /// Ends the generation prompt when the model is to think.
  var prompt = ""
  /// Ends the generation prompt when it is not; nil when the family always thinks.
  var promptWithoutThinking: String?

  enum Visibility: Sendable {
    case afterLastQuestion
    case afterLastAnswerWithoutCalls
    case never
  }

  enum TrainingVisibility: Sendable {
    /// All of it: what a prompt shows after the last question as well.
    case lastRound
    /// That of the last answer. Prompts never show any, so that nothing may be learned behind it;
    /// answers before it whose reasoning is left out are not learned either.
    case lastAnswer
  }

  enum AbsentPlace: Sendable {
    case everyAnswer
    /// Only the last message of the conversation, and only when it follows a question.
    case lastMessage
  }

  enum EmbeddedReasoning: Sendable {
    /// It is the reasoning, unless the message has reasoning of its own.
    case extracted
    /// It is removed from plain answers, up to the first end mark or the last one.
    case removedThroughFirst, removedThroughLast
    /// It is removed up to the last end mark, also beside calls and after tool results.
    case removedEverywhere
    case kept
  }
}

/// How tools are declared, called and answered.
struct ToolFormat: Sendable {
  var declarations: Declarations
  /// nil: the published template drops calls, so that they can be rendered but not trained.
  var calls: CallFormat?
  var results: ResultFormat
  /// Whether the sections of calls and of results are opened once in a conversation, as the
  /// published text of DeepSeek R1 does; later calls and results only continue them.
  var opensSectionsOnce = false

  enum Declarations: Sendable {
    /// The template has no place for them.
    case unsupported
    /// Behind the system text; `lead` is written when there is no system text.
    case inSystemTurn(lead: String)
    /// In a turn of their own, before everything else.
    case ownTurn(open: String, close: String, style: JSONTextStyle)
  }

  struct CallFormat: Sendable {
    var sectionOpen = ""
    var open: String
    var middle: String
    var close: String
    var separator = ""
    var sectionClose = ""
    /// Whether the call is named by its id, `functions.NAME:INDEX` when it has none.
    var usesIDs = false
    var lead = Lead.none
  }

  /// What stands between the content and the first call.
  enum Lead: Sendable {
    case none
    case lineBreak
    /// A line break unless the content ends with a blank line.
    case lineBreakUnlessBlankLine
  }

  struct ResultFormat: Sendable {
    var groupOpen = ""
    /// Stands between the results of one group.
    var groupSeparator = ""
    var marks: TurnMarks
    /// Text before and after the call's id, written before the content.
    var idHeading: (before: String, after: String)?
    var groupClose = ""
    var groupEnd = GroupEnd.always
  }

  /// Where `groupClose` is written behind the last result of a group.
  enum GroupEnd: Sendable {
    case always
    /// Not before a user's message.
    case unlessUser
    /// Only before an answer without calls, and at the end.
    case beforePlainAnswer
  }
}

struct HarmonyFormat: Sendable {
  var system: SystemPlacement
  var supportsTools: Bool
  /// Whether a learned final answer ends with `<|return|>` wherever it stands.
  var returnsOnLoss: Bool

  enum SystemPlacement: Sendable {
    /// The first system or developer message becomes the developer block.
    case developerBlock
    /// A system message replaces the system block; a developer message follows the default one.
    case systemBlock
  }
}
