// Could this server be backed up? Looks at everything that a base, the log, or a restore would stumble over, and says what to run.
//
// Findings are facts and remedies, never exceptions: a server that can't be reached is the first finding.
// Tested in check.db.test.ts.

import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { EngineSpec, Finding } from '../../../jobs/job.ts';
import type { LookDeps } from '../../engine.ts';
import { accountName, addressOf, loginOf } from '../dsn.ts';
import { ServerSession } from '../protocol/server-session.ts';
import { contentBytes, isMariaDb, nonTransactionalTables, variablesOf } from '../server-facts.ts';
import { readSettings, SETTING_RULES } from '../settings.ts';
import { findTool, packageOf, type ToolName } from '../tools.ts';
import { findingsOfVariables } from './variable-findings.ts';
import { missingRights, rightsIn } from './rights.ts';

export async function checkServer(source: EngineSpec, deps: LookDeps): Promise<readonly Finding[]> {
  const unknown = Object.keys(source.engine.settings).filter(
    (name) => !SETTING_RULES.some((rule) => rule.name === name),
  );
  const known = SETTING_RULES.map(({ name }) => name).join(', ');
  const refused = unknown.map((name) =>
    finding('error', name, 'is no setting of a MariaDB source', `It knows ${known}.`),
  );
  return [...refused, ...(await lookAt(source, deps))];
}

async function lookAt(source: EngineSpec, deps: LookDeps): Promise<Finding[]> {
  try {
    const settings = readSettings(source.engine.settings);
    const login = loginOf(addressOf(source.engine.settings), accountName());
    const server = await ServerSession.open(login, deps.signal);
    try {
      const connected = finding('ok', 'connection', `connected as ${login.user} to ${server.version}`);
      return [connected, ...(await look(server, login.user, settings.method, settings.physicalAboveBytes))];
    } finally {
      server.close();
    }
  } catch (thrown) {
    const error = toHoldfastError(thrown);
    const remedy = error.code === 'UNAUTHENTICATED' ? loginRemedy(source) : error.hint;
    return [finding('error', 'connection', error.message, remedy)];
  }
}

/** What lets in an account that the server refused: it is not there, or its password is another. */
function loginRemedy(source: EngineSpec): string {
  const address = addressOf(source.engine.settings);
  const { user, password } = loginOf(address, accountName());
  if (password !== '') return `Write the password of ${user} into ${address.defaultsFile ?? 'the option file'}.`;
  return accountRemedy(user);
}

/** Statements that make the account; with a password, since `unix_socket` serves only the account that the agent runs as. */
function accountRemedy(user: string): string {
  const account = `'${user}'@'localhost'`;
  const rights = missingRights(new Set(), true, false).join(', ');
  return [
    `CREATE USER IF NOT EXISTS ${account};`,
    `ALTER USER ${account} IDENTIFIED BY 'PASSWORD';`,
    `GRANT ${rights} ON *.* TO ${account};`,
    'Then write [client] and password=PASSWORD, on two lines, into a file of mode 600, and name it: defaults-file=/etc/holdfast/db.cnf',
  ].join('\n');
}

async function look(
  server: ServerSession,
  wanted: string,
  method: string,
  physicalAboveBytes: number,
): Promise<Finding[]> {
  const variables = await variablesOf(server);
  const large = (await contentBytes(server)) > physicalAboveBytes;
  const physical = method === 'physical' || (method === 'auto' && large && findTool('backup') !== undefined);
  return [
    versionFinding(server),
    ...(await rightsFindings(server, wanted, physical)),
    ...findingsOfVariables(variables, isMariaDb(server)),
    ...(await tableFindings(server)),
    ...toolFindings(server.version, method, large),
  ];
}

function versionFinding({ version }: ServerSession): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const maria = version.includes('MariaDB');
  const old = maria ? major < 10 || (major === 10 && minor < 4) : major < 8;
  if (!old) return finding('ok', 'version', version);
  return finding(
    'warning',
    'version',
    `${version} is older than what was tested`,
    'Upgrade to MariaDB 10.6 or later, or MySQL 8.',
  );
}

async function rightsFindings(server: ServerSession, wanted: string, physical: boolean): Promise<Finding[]> {
  const [who] = await server.query('SELECT CURRENT_USER() AS account');
  const account = who?.['account'] ?? '';
  // A server with anonymous accounts lets anybody in as nobody: no right is to be given to those.
  if (account.startsWith('@')) {
    return [
      finding('error', 'rights', `the server has no account ${wanted}, and let it in as nobody`, accountRemedy(wanted)),
    ];
  }
  const grants = await server.query('SHOW GRANTS');
  const held = rightsIn(grants.flatMap((row) => Object.values(row).map((text) => text ?? '')));
  const missing = missingRights(held, isMariaDb(server), physical);
  if (missing.length === 0) return [finding('ok', 'rights', `${account} may do everything that a backup needs`)];
  const [user = '', host = ''] = account.split('@');
  const remedy = `GRANT ${missing.join(', ')} ON *.* TO '${user}'@'${host}';`;
  return [finding('error', 'rights', `${account} lacks ${missing.join(', ')}`, remedy)];
}

const NAMED = 10;

async function tableFindings(server: ServerSession): Promise<Finding[]> {
  const tables = await nonTransactionalTables(server);
  if (tables.length === 0) return [finding('ok', 'tables', 'every table is transactional')];
  const named = tables.slice(0, NAMED).join(', ') + (tables.length > NAMED ? ` and ${tables.length - NAMED} more` : '');
  const [first = ''] = tables;
  const table = first.slice(0, first.lastIndexOf(' ('));
  return [
    finding(
      'warning',
      'tables',
      `not transactional, so a base does not have them of the same moment as the others: ${named}`,
      `ALTER TABLE ${table} ENGINE=InnoDB;`,
    ),
  ];
}

/** What a base or a restore on this host would run. */
function toolFindings(version: string, method: string, large: boolean): Finding[] {
  const findings: Finding[] = [];
  const needed: ToolName[] = method === 'physical' ? ['backup'] : ['dump'];
  for (const tool of needed) {
    const path = findTool(tool);
    if (path === undefined) {
      const remedy = `apt-get install ${packageOf(tool)}`;
      findings.push(
        finding(
          'error',
          'tools',
          `the program that ${tool === 'backup' ? 'copies' : 'dumps'} is not installed here`,
          remedy,
        ),
      );
    } else {
      findings.push(finding('ok', 'tools', `${path} for ${version}`));
    }
  }
  if (method === 'auto' && large && findTool('backup') === undefined) {
    findings.push(
      finding(
        'warning',
        'tools',
        'the server is large, and without mariadb-backup each base is a dump',
        'apt-get install mariadb-backup',
      ),
    );
  }
  return findings;
}

function finding(level: Finding['level'], subject: string, message: string, remedy = ''): Finding {
  return { level, subject, message, remedy };
}
