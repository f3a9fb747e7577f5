// `holdfast completion`: what to write into the shell's start-up file, and the words to offer while somebody types.
//
// The scripts hold no knowledge: they call `holdfast completion words -- WORD…` at every Tab, so that they stay right when
// the program changes. Names of hosts and sources are asked of the controller, within COMPLETION_MS, and in silence
// when it does not answer: a Tab must neither hang nor print an error.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Session } from './session/session.ts';
import { SOURCE_TYPES } from './engine-options.ts';
import type { Verb } from './verb.ts';
import { sourceTitle } from './words/sources.ts';

const COMPLETION_MS = 1500;
const RUNS_OFFERED = 20;

export function define(program: Command, session: Session, verbs: readonly Verb[]): void {
  const completion = program
    .command('completion')
    .description('completion for bash and zsh')
    .argument('[shell]', 'bash or zsh')
    .addHelpText('after', HELP)
    .action(async (shell: string | undefined) => {
      if (shell !== 'bash' && shell !== 'zsh') {
        throw new HoldfastError('USAGE', 'which shell?', {
          hint: 'holdfast completion bash, or holdfast completion zsh',
        });
      }
      await session.write(shell === 'bash' ? BASH : ZSH);
    });
  completion
    .command('words', { hidden: true })
    .argument('[typed...]', 'the words after `holdfast`, the last of them being typed')
    .action(async (typed: string[]) => {
      const offered = await wordsFor(session, verbs, typed);
      await session.write(offered.map((word) => `${word}\n`).join(''));
    });
}

/** What to offer for the last of the words, which is a beginning (or empty). */
async function wordsFor(session: Session, verbs: readonly Verb[], typed: readonly string[]): Promise<string[]> {
  const beginning = typed.at(-1) ?? '';
  const before = typed.slice(0, -1);
  const command = await commandAt(session, verbs, before);
  const previous = before.at(-1) ?? '';
  const option = command.options.find((candidate) => candidate.long === previous || candidate.short === previous);
  let offered: string[];
  if (option !== undefined && (option.required || option.optional))
    offered = await optionValues(session, option.long ?? '');
  else if (beginning.startsWith('-')) offered = optionNames(command);
  else if (command.commands.length > 0) offered = command.commands.filter(shown).map((sub) => sub.name());
  else offered = await argumentValues(session, command);
  return offered.filter((word) => word.startsWith(beginning)).toSorted();
}

/** The innermost command that the words name, out of a program with every verb loaded. */
async function commandAt(session: Session, verbs: readonly Verb[], words: readonly string[]): Promise<Command> {
  const { Command: Program } = await import('commander');
  let command: Command = new Program('holdfast')
    .option('--json')
    .option('--domain <name>')
    .option('--context <name>')
    .option('--version')
    .option('--help');
  for (const verb of verbs) {
    if (words.includes(verb.name)) (await verb.load()).define(command, session, verbs);
    else command.command(verb.name);
  }
  for (const word of words) command = command.commands.find((sub) => sub.name() === word) ?? command;
  return command;
}

function shown(command: Command): boolean {
  return command.name() !== 'words' && command.name() !== 'help';
}

function optionNames(command: Command): string[] {
  const found: string[] = ['--help'];
  for (let at: Command | null = command; at !== null; at = at.parent) {
    found.push(...at.options.flatMap((option) => option.long ?? []));
  }
  return [...new Set(found)];
}

async function argumentValues(session: Session, command: Command): Promise<string[]> {
  const first = command.registeredArguments[0]?.name();
  if (first === 'source' || first === 'snapshot' || first === 'from') return await names(session, 'sources');
  if (first === 'name' && command.parent?.name() === 'host') return await names(session, 'hosts');
  if (first === 'plan') return await names(session, 'plans');
  if (first === 'name' && command.parent?.name() === 'plan') return await names(session, 'plans');
  if (first === 'id' && command.parent?.name() === 'run') return await names(session, 'runs');
  if (first === 'shell') return ['bash', 'zsh'];
  return [];
}

async function optionValues(session: Session, long: string): Promise<string[]> {
  if (long === '--host' || long === '--on') return await names(session, 'hosts');
  if (long === '--to') return (await names(session, 'hosts')).map((host) => `${host}:/`);
  if (long === '--type') return [...SOURCE_TYPES];
  if (long === '--compression') return ['zstd', 'lz4', 'none'];
  if (long === '--mode') return ['drill', 'planned', 'unplanned'];
  if (long === '--role') return ['viewer', 'operator', 'approver', 'admin'];
  return [];
}

async function names(session: Session, kind: 'hosts' | 'sources' | 'plans' | 'runs'): Promise<string[]> {
  try {
    const [operator, recovery] = [await session.operator(), await session.recovery()];
    const domain = await session.domain();
    const options = { signal: AbortSignal.timeout(COMPLETION_MS) };
    if (kind === 'hosts') return (await operator.listHosts({ domain }, options)).hosts.map(({ name }) => name);
    if (kind === 'plans') return (await recovery.listPlans({ domain }, options)).plans.map(({ name }) => name);
    if (kind === 'runs')
      return (await recovery.listRuns({ domain, limit: RUNS_OFFERED }, options)).runs.map(({ id }) => id);
    return (await operator.listSources({ domain }, options)).sources.map(sourceTitle);
  } catch {
    return [];
  }
}

// bash splits words at ':' (COMP_WORDBREAKS), so `--to web-1:/` would be completed twice over without the last line.
const BASH = `# holdfast completion for bash: put  eval "$(holdfast completion bash)"  into ~/.bashrc
_holdfast() {
  local line=\${COMP_LINE:0:COMP_POINT} word
  local -a words
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  word=\${words[-1]}
  mapfile -t COMPREPLY < <(holdfast completion words -- "\${words[@]:1}" 2>/dev/null)
  [[ \${COMPREPLY[0]-} == *:/ || \${COMPREPLY[0]-} == *[/] ]] && compopt -o nospace
  [[ $word == *:* && $COMP_WORDBREAKS == *:* ]] && COMPREPLY=("\${COMPREPLY[@]#"\${word%"\${word##*:}"}"}")
}
complete -F _holdfast holdfast
`;

const ZSH = `#compdef holdfast
# holdfast completion for zsh: put  eval "$(holdfast completion zsh)"  into ~/.zshrc, after compinit
_holdfast() {
  local -a offered
  offered=("\${(@f)$(holdfast completion words -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -Q -S '' -- \${offered:#*[^/]}
  compadd -Q -- \${offered:#*/}
}
compdef _holdfast holdfast
`;

const HELP = `
Examples:
  eval "$(holdfast completion bash)"    # in ~/.bashrc
  eval "$(holdfast completion zsh)"     # in ~/.zshrc, after compinit
`;
