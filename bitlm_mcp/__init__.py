"""The MCP server of bitlm: a shell around the engine that knows nothing of how it learns.

    the wire        settings  arguments  results  schemas  errors: what may be asked, and how it is answered
                    tools  resources  prompts  completions  notifications  extensions: the protocol's offers
                    silent_dispatch: calls without a client to talk back to
                    server  server_internals: all of that in one MCP server of the SDK
                    guide: pages on one subject each, which ship with it, and the table of all tools
    the state       database  records  curves: what is recorded, in one SQLite file
                    outbox: what waits to be recorded
                    presence  leases: which servers share a directory, and which of them may write a model
                    datasets  dataset_files  data_files  job_files: bytes on the disk
                    history  known_model  snapshot  activity  events: what is known of each model, what servers do; the
                    one picture that everyone reads
                    freshness: what other servers have done is seen before anything is answered
    the work        jobs  runner  model_store  workspace  operations: begun, followed, recorded, shown
                    compute: the side that has torch, in a thread or in a process of its own
                    safety: gates of sessions, and outputs that wait for a person
                    housekeeping: what is done from time to time
    the world       transports  web_server  stdio_lines  descriptors  app  event_store: stdio and HTTP, from the first byte
                    to a clean exit
                    security  oauth  call_gate: who may call, and how often
                    dashboard  monitoring  logs: for people and operators
                    assembly: everything of one process put together
    the command     cli  options: the only readers of the command line and the environment
                    demo  doctor  shell: what it does besides serving
                    host_config  host_entries  manifest: how hosts start or reach it; bundle_command: brought as an extension
                    score_commands  compression_commands  repair_commands
                    sample_commands  telemetry_commands  train_commands: the same with files
                    hub_commands: checkpoints to a hub of models and from it
                    patch_commands: a file cut into patches; compile_command: kernels, before they are needed
                    guide_commands: the pages and the tools, told in a shell
                    train_targets: where what was trained goes
                    shared_training  worker_command: a training that several processes share
                    bench  bench_app  bench_reports  bench_commands  bench_compression  bench_codecs  bench_decoding
                    bench_diffusion  bench_samples  bench_safety  bench_repair  bench_patches  bench_growth
                    bench_progressive  bench_distill  bench_quantize  bench_scaling  bench_pages  open_pages
                    bench_fleet: measuring
                    bench_all: every benchmark in one report, and the figures of the documents from it

Importing this package does nothing.
"""
