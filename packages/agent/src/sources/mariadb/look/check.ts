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
      return [connected, ...(await look(server, settings.method, settings.physicalAboveBytes))];
    } finally {
      server.close();
    }
  } catch (thrown) {
    const error = toHoldfastError(thrown);
    return [finding('error', 'connection', error.message, error.hint)];
  }
}

async function look(server: ServerSession, method: string, physicalAboveBytes: number): Promise<Finding[]> {
  const variables = await variablesOf(server);
  const large = (await contentBytes(server)) > physicalAboveBytes;
  const physical = method === 'physical' || (method === 'auto' && large && findTool('backup') !== undefined);
  return [
    versionFinding(server),
    ...(await rightsFindings(server, physical)),
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

async function rightsFindings(server: ServerSession, physical: boolean): Promise<Finding[]> {
  const [who] = await server.query('SELECT CURRENT_USER() AS account');
  const account = who?.['account'] ?? '';
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
