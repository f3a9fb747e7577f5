// `holdfast plan diff`: two revisions of a document, or a revision and a file, line by line.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Session } from '../session/session.ts';
import { diffHunks, type DiffLine } from '../words/line-diff.ts';
import { isFile, readDocument } from './plan-document.ts';

interface Side {
  readonly title: string;
  readonly text: string;
}

export async function diffPlans(
  session: Session,
  name: string,
  from: string | undefined,
  to: string | undefined,
): Promise<void> {
  const [before, after] = await sides(session, name, from, to);
  const hunks = diffHunks(before.text.split('\n'), after.text.split('\n'));
  if (session.json) {
    const changes = hunks.flatMap(({ lines }) => lines.filter(({ sign }) => sign !== ' '));
    return await session.document({ from: before.title, to: after.title, changes: changes.map(changeFields) });
  }
  session.remark(
    hunks.length === 0 ? `${before.title} and ${after.title} are the same.` : `From ${before.title} to ${after.title}:`,
  );
  await session.write(
    hunks
      .map(({ line, lines }) => `@@ line ${line} @@\n${lines.map(({ sign, text }) => `${sign}${text}\n`).join('')}`)
      .join(''),
  );
}

function changeFields({ sign, text, line }: DiffLine) {
  return { change: sign === '+' ? 'added' : 'removed', line, text };
}

async function sides(
  session: Session,
  name: string,
  from: string | undefined,
  to: string | undefined,
): Promise<[Side, Side]> {
  if (from !== undefined && !/^\d+$/.test(from)) {
    if (to !== undefined || !isFile(session, from)) throw usage();
    return [await revision(session, name, 0), { title: from, text: readDocument(session, from) }];
  }
  const newest = await revision(session, name, to === undefined ? 0 : Number(to));
  if (from !== undefined) return [await revision(session, name, Number(from)), newest];
  if (newest.revision < 2) {
    throw new HoldfastError('NOT_FOUND', `${name} has one revision only`, {
      hint: 'Compare it with a file: holdfast plan diff NAME FILE',
    });
  }
  return [await revision(session, name, newest.before), newest];
}

async function revision(
  session: Session,
  name: string,
  wanted: number,
): Promise<Side & { revision: number; before: number }> {
  const recovery = await session.recovery();
  const { plan, document, revisions } = await recovery.getPlan({
    domain: await session.domain(),
    plan: name,
    revision: wanted,
  });
  const number = wanted === 0 ? (plan?.revision ?? 0) : wanted;
  const before = Math.max(0, ...revisions.map((each) => each.revision).filter((each) => each < number));
  return { title: `${name} revision ${number}`, text: document, revision: number, before };
}

function usage(): HoldfastError {
  return new HoldfastError('USAGE', 'compare two revisions, or a revision and a file', {
    hint: 'holdfast plan diff NAME [FROM [TO]], or holdfast plan diff NAME FILE',
  });
}
