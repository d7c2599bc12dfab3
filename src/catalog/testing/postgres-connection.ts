/**
 * As much of PostgreSQL's protocol as the catalog's statements need, over a Unix socket whose server trusts everybody: for tests, which
 * hold the catalog's SQL against a second database without a driver. Source: PostgreSQL documentation, "Frontend/Backend Protocol".
 */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

import type { PostgresPool, PostgresPoolClient, PostgresQueryResult } from 'kysely';

/** As the server reports it; `code` is an SQLSTATE. */
export class PostgresError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const protocolVersion = 196_608; // 3.0
/** Of the types that the client reads as another thing than text. Source: pg_type.dat. */
const oids = { bool: 16, int2: 21, int4: 23, oid: 26 };

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

function int(value: number, sizeBytes: 2 | 4): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  bytes.writeIntBE(value, 0, sizeBytes);
  return bytes;
}

function message(type: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(type), int(body.byteLength + 4, 4), body]);
}

function parameter(value: unknown): Buffer {
  if (value === null || value === undefined) return int(-1, 4);
  const text = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
  return Buffer.concat([int(text.byteLength, 4), text]);
}

interface Column {
  readonly name: string;
  readonly oid: number;
}

function columnsIn(body: Buffer): Column[] {
  const columns: Column[] = [];
  let offset = 2;
  for (let count = body.readInt16BE(0); count > 0; count -= 1) {
    const end = body.indexOf(0, offset);
    columns.push({ name: body.toString('utf8', offset, end), oid: body.readInt32BE(end + 7) });
    offset = end + 19;
  }
  return columns;
}

function valueOf(text: string, oid: number): unknown {
  if (oid === oids.bool) return text === 't';
  return oid === oids.int2 || oid === oids.int4 || oid === oids.oid ? Number(text) : text;
}

function rowIn(body: Buffer, columns: readonly Column[]): Record<string, unknown> {
  const row: Record<string, unknown> = {};
  let offset = 2;
  for (const { name, oid } of columns) {
    const sizeBytes = body.readInt32BE(offset);
    offset += 4;
    row[name] =
      sizeBytes < 0 ? null : valueOf(body.toString('utf8', offset, offset + sizeBytes), oid);
    offset += Math.max(0, sizeBytes);
  }
  return row;
}

function errorIn(body: Buffer): PostgresError {
  const fields = body.toString('utf8').split('\0');
  const field = (type: string): string =>
    fields.find((one) => one.startsWith(type))?.slice(1) ?? '';
  return new PostgresError(field('C'), field('M'));
}

/** One connection, for one statement at a time. */
class Connection {
  readonly #socket: Socket;
  readonly #chunks: AsyncIterator<Buffer>;
  #received: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  static async open(path: string, of: { user: string; database: string }): Promise<Connection> {
    const socket = connect(path);
    await once(socket, 'connect');
    const connection = new Connection(socket);
    const settings = ['user', of.user, 'database', of.database, ''].map(cString);
    const body = Buffer.concat([int(protocolVersion, 4), ...settings]);
    socket.write(Buffer.concat([int(body.byteLength + 4, 4), body]));
    await connection.#result();
    return connection;
  }

  async query(sql: string, parameters: readonly unknown[]): Promise<PostgresQueryResult<never>> {
    const none = int(0, 2);
    const given = parameters.map(parameter);
    const all = [
      message('P', cString(''), cString(sql), none),
      message('B', cString(''), cString(''), none, int(given.length, 2), ...given, none),
      message('D', cString('P')),
      message('E', cString(''), int(0, 4)),
      message('S'),
    ];
    this.#socket.write(Buffer.concat(all));
    return await this.#result();
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.end(message('X'), resolve));
    await this.#chunks.return?.();
  }

  /** All up to "ready for query". */
  async #result(): Promise<PostgresQueryResult<never>> {
    let columns: readonly Column[] = [];
    let failure: PostgresError | undefined;
    let tag = '';
    const rows: object[] = [];
    for (;;) {
      const { type, body } = await this.#next();
      if (type === 'T') columns = columnsIn(body);
      else if (type === 'D') rows.push(rowIn(body, columns));
      else if (type === 'C') tag = body.toString('utf8', 0, body.byteLength - 1);
      else if (type === 'E') failure = errorIn(body);
      else if (type === 'Z') break;
    }
    if (failure !== undefined) throw failure;
    const [command = '', ...counts] = tag.split(' ');
    const result = { command, rowCount: Number(counts.at(-1) ?? 0), rows };
    return result as unknown as PostgresQueryResult<never>;
  }

  async #next(): Promise<{ readonly type: string; readonly body: Buffer }> {
    for (;;) {
      const sizeBytes = this.#received.byteLength < 5 ? Infinity : this.#received.readInt32BE(1);
      if (this.#received.byteLength > sizeBytes) {
        const type = this.#received.toString('latin1', 0, 1);
        const body = this.#received.subarray(5, sizeBytes + 1);
        this.#received = this.#received.subarray(sizeBytes + 1);
        return { type, body };
      }
      const chunk = await this.#chunks.next();
      if (chunk.done === true) throw new Error('The server closed the connection');
      this.#received = Buffer.concat([this.#received, chunk.value]);
    }
  }
}

/** Any number of connections, kept until its end. */
export function postgresPool(path: string, of: { user: string; database: string }): PostgresPool {
  const all: Connection[] = [];
  const idle: Connection[] = [];
  const client = (connection: Connection): PostgresPoolClient =>
    ({
      query: (sql: string, parameters: readonly unknown[]) => connection.query(sql, parameters),
      release: () => void idle.push(connection),
    }) as unknown as PostgresPoolClient;
  return {
    options: {},
    connect: async () => {
      const free = idle.pop();
      if (free !== undefined) return client(free);
      const connection = await Connection.open(path, of);
      all.push(connection);
      return client(connection);
    },
    end: async () => void (await Promise.all(all.map((connection) => connection.close()))),
  };
}
