import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

import { expect } from 'chai';
import fc from 'fast-check';

import { checkPlan } from './check-plan.ts';
import { runbookHtml } from './runbook-html.ts';
import { runbookMarkdown } from './runbook-markdown.ts';
import { quote } from './runbook-steps.ts';
import { makeRunbook, type RunbookFacts } from './runbook.ts';
import { STEP_TYPES } from './step-types.ts';

const example = readFileSync(new URL('../../../../docs/plans.md', import.meta.url), 'utf8')
  .split('```yaml\n')[1]!
  .split('```')[0]!;

const facts: RunbookFacts = {
  primary: 'web-1',
  standby: 'web-2',
  revision: 3,
  madeAtMs: Date.UTC(2026, 10, 23, 4),
  modes: ['unplanned'],
  addresses: new Map([['web-2', '192.0.2.2']]),
};

function bookOf(document: string, given: Partial<RunbookFacts> = {}) {
  const { plan, findings } = checkPlan(document);
  expect(findings).to.deep.equal([]);
  return makeRunbook(plan!, { ...facts, ...given });
}

/** Every type once, as small as it may be. */
const EVERY_TYPE = `apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: all, owner: ops@shop.test}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
services: {odd: {start: [/opt/odd, start now], stop: [/opt/odd, stop], status: [/opt/odd, status]}}
contacts: {oncall: {email: [night@shop.test]}}
sources: [files]
steps:
  - {id: s0, type: approval}
  - {id: s1, type: manual, text: "Look <b>twice</b>"}
  - {id: s2, type: wait, for: 5s}
  - {id: s3, type: snapshot, in: [planned], sources: [files]}
  - {id: s4, type: fence, in: [planned, unplanned]}
  - {id: s5, type: rebuild, packages: true, needs: [s4]}
  - {id: s6, type: restore.files, source: files, target: "/srv/my shop"}
  - {id: s7, type: restore.postgres, source: files, port: 5433}
  - {id: s8, type: restore.mariadb, source: files, unit: mariadb}
  - {id: s9, type: restore.redis, source: files}
  - {id: s10, type: restore.sqlite, source: files}
  - {id: s11, type: restore.image, source: files}
  - {id: s12, type: restore.command, source: files}
  - {id: s13, type: service.start, units: [odd, nginx], needs: [s4]}
  - {id: s14, type: service.stop, units: [nginx]}
  - {id: s15, type: command, run: [/bin/echo, "it's; rm -rf /"], probe: [/bin/true], undo: [/bin/false]}
  - {id: s16, type: check.http, url: "http://127.0.0.1/x?a=1&b=2", contains: ok}
  - {id: s17, type: check.tcp, address: "127.0.0.1:80"}
  - {id: s18, type: check.sql, source: files, query: "select 'it'"}
  - {id: s19, type: check.command, run: [/bin/true]}
  - {id: s20, type: traffic, in: [planned, unplanned], needs: [s4], via: [{address: {ip: 10.0.0.1/24, dev: eth0}}, {dns: {name: shop.test., key: tsig, server: "10.0.0.9:5353", zone: test.}}, {webhook: {url: "https://dns.test/move"}}]}
  - {id: s21, type: notify, to: [oncall], template: failover, critical: false}
`;

describe('runbooks', () => {
  it('has every step of the mode in an order in which it can be done, with hosts and variables put in', () => {
    const book = bookOf(example, { modes: ['planned'] });
    const chapter = book.chapters.find(({ title }) => title.includes('planned'))!;
    expect(chapter.steps.map(({ title }) => title.split(':')[0])).to.deep.equal(
      'rebuild quiesce last fence files configuration db db-ok migrate start healthy switch outside tell'.split(' '),
    );
    const text = runbookMarkdown(book);
    expect(text).to.contain('curl -fsS --max-time 10 http://10.77.0.12/healthz | grep -F ok');
    expect(text)
      .to.contain('ip address add 10.77.0.100/24 dev eth0')
      .and.contain('ip address del 10.77.0.100/24 dev eth0');
    const six = runbookMarkdown(bookOf(example.replaceAll('10.77.0.100/24', 'fd00:77::100/64')));
    expect(six)
      .to.contain('sysctl net.ipv6.conf.eth0.ndisc_notify=1')
      .and.contain('ip address add fd00:77::100/64 dev eth0')
      .and.not.contain('arping');
    expect(text).to.contain("sed -i 's/10\\.77\\.0\\.11/10.77.0.12/g' /etc/shop/config.ini");
    expect(text).to.contain('http://10.77.0.11/healthz').and.contain('192.0.2.2, bind=10.77.0.12');
    expect(text)
      .to.contain('HOLDFAST_PRIMARY=web-1 /etc/holdfast/power-off.sh')
      .and.contain('read -rs HOLDFAST_SECRET_SHOP_DB_PASSWORD');
    expect(text).to.contain('--at RECOVERY_POINT').and.not.contain('${');
  });

  it('says who is which now, not who was first', () => {
    const text = runbookMarkdown(bookOf(example, { primary: 'web-2', standby: 'web-1' }));
    expect(text)
      .to.contain('Restore web-2/files to web-1.')
      .and.contain('holdfast-agent serve --force')
      .and.contain('http://10.77.0.12/healthz');
  });

  it('knows what to do by hand for every type of step, and what when it fails', () => {
    const all = checkPlan(EVERY_TYPE).plan!;
    expect(new Set(all.steps.map(({ type }) => type))).to.deep.equal(new Set(STEP_TYPES));
    for (const mode of ['planned', 'unplanned'] as const) {
      const chapter = bookOf(EVERY_TYPE, { modes: [mode] }).chapters[2]!;
      expect(chapter.steps.length).to.be.at.least(20);
      for (const { text, onFailure } of chapter.steps) {
        expect(text).to.not.equal('');
        expect(onFailure).to.not.equal('');
      }
    }
    const text = runbookMarkdown(bookOf(EVERY_TYPE));
    expect(text)
      .to.contain("/opt/odd 'start now'")
      .and.contain('systemctl start nginx')
      .and.contain("'/srv/my shop'".slice(1, -1));
    expect(text)
      .to.contain('# oncall: night@shop.test')
      .and.contain('server 10.0.0.9 5353')
      .and.contain('--start --port 5433');
  });

  it('what is typed is what a shell would run', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.string({ unit: 'binary' }).filter((word) => !/[\0\ud800-\udfff]/.test(word)),
          { minLength: 1, maxLength: 4 },
        ),
        (words) => {
          const seen = execFileSync('sh', ['-c', `printf '%s\\0' ${words.map(quote).join(' ')}`], { encoding: 'utf8' });
          expect(seen.split('\0').slice(0, -1)).to.deep.equal(words);
        },
      ),
      { numRuns: 40 },
    );
    expect(runbookMarkdown(bookOf(EVERY_TYPE))).to.contain(`/bin/echo 'it'\\''s; rm -rf /'`);
  });

  it('the page escapes what the plan says, loads nothing and prints', () => {
    const html = runbookHtml(bookOf(EVERY_TYPE));
    expect(html).to.contain('Look &lt;b&gt;twice&lt;/b&gt;').and.contain('@media print').and.not.contain('<script');
    expect(html).to.not.match(/<[^>]*\b(src|href)=/);
    const opened = [...html.matchAll(/<(section|ol|li|dl|pre|p|h3|b)\b/g)].length;
    expect([...html.matchAll(/<\/(section|ol|li|dl|pre|p|h3|b)>/g)]).to.have.length(opened);
  });

  it('without a controller it says how restores become possible again', () => {
    const text = runbookMarkdown(bookOf(example));
    expect(text).to.contain('holdfast-controller rebuild').and.contain('--recovery-sheet');
  });
});
