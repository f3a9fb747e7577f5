// From arguments to an exit code: builds the program from the verbs that the arguments name, runs it, and words every error in one place.
//
// Exit codes: 0 done; 1 failed; 2 usage; 3 done with warnings; 10 not found; 11 busy or locked; 12 not allowed; 13 controller unreachable.

import { Command, CommanderError } from 'commander';
import { HoldfastError, meaningOf, toHoldfastError } from '@holdfast/shared/base/errors';
import type { Environment } from './session/environment.ts';
import type { GlobalOptions } from './session/global-options.ts';
import { Session } from './session/session.ts';
import { verbs } from './verbs.ts';
import { version } from './version.ts';

const EXIT_USAGE = 2;

/** Runs one command line (without node and script) and returns the exit code. Never throws. */
export async function run(argv: readonly string[], environment: Environment): Promise<number> {
  const program = new Command('holdfast');
  const session = new Session(environment, () => program.opts<GlobalOptions>());
  try {
    await describe(program, session, argv);
    await program.parseAsync(argv, { from: 'user' });
    return session.exitCode;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : EXIT_USAGE;
    const error = await withAddress(toHoldfastError(thrown), session);
    environment.stderr.write(session.json ? errorLine(error) : errorWords(error));
    return meaningOf(error.code).exit;
  } finally {
    await session.close();
  }
}

async function describe(program: Command, session: Session, argv: readonly string[]): Promise<void> {
  const { environment } = session;
  program
    .description('Backup and disaster recovery for fleets of servers: the operator’s command line.')
    .option('--json', 'print documents for programs instead of words for people')
    .option('--domain <name>', 'the domain to work in, where you have several')
    .option('--context <name>', 'the context to use instead of the current one')
    .version(version(), '--version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [verb]', 'show the help of a verb')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => void environment.stdout.write(text),
      writeErr: (text) => void environment.stderr.write(text.replace(/^error: /, 'holdfast: ')),
      getOutHelpWidth: () => environment.columns(),
      getErrHelpWidth: () => environment.columns(),
    })
    .showHelpAfterError('(add --help for what is possible)')
    .exitOverride()
    .addHelpText('after', EXAMPLES);
  for (const verb of verbs) {
    if (argv.includes(verb.name)) (await verb.load()).define(program, session, verbs);
    else program.command(verb.name).description(verb.summary);
  }
}

/** Whoever reads "unreachable" wants to know what was called. */
async function withAddress(error: HoldfastError, session: Session): Promise<HoldfastError> {
  if (error.code !== 'UNREACHABLE' || error.hint !== '') return error;
  const address = await session.address();
  if (address === undefined) return error;
  const called = error.message.includes(address) ? '' : `The controller was called at ${address}. `;
  return new HoldfastError('UNREACHABLE', error.message, {
    hint: `${called}Is it running, and is the address right? See: holdfast context`,
    cause: error,
  });
}

/** "holdfast: WHAT\n  NEXT" */
export function errorWords(error: HoldfastError): string {
  const what = error.code === 'INTERNAL' ? `internal error: ${error.message}` : error.message;
  return error.hint === '' ? `holdfast: ${what}\n` : `holdfast: ${what}\n  ${error.hint}\n`;
}

function errorLine(error: HoldfastError): string {
  const { code, message, hint } = error;
  return `${JSON.stringify({ event: 'error', code, message, hint })}\n`;
}

const EXAMPLES = `
Examples:
  holdfast login backup.example.net:7400 --ca ca.pem
  holdfast host add web-1
  holdfast source add site --host web-1 --type files --path /srv/site
  holdfast backup web-1/site
  holdfast restore web-1/site --to web-2:/srv/site

Exit codes: 0 done, 1 failed, 2 usage, 3 done with warnings, 10 not found, 11 busy or locked, 12 not allowed, 13 controller unreachable.
`;
