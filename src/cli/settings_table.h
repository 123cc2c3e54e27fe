/* The settings: one row each. This table is the only source of the flags, the ORLOP_… variables, the keys of the configuration
 * file, `orlop help`, the man page and the sample file. A new setting is a new row; nothing else has to be told.
 *
 *      field       name in struct settings, with its unit: _bytes, _ms
 *      name        the flag without "--"; the variable is ORLOP_ and the name in capitals with "_" for "-"
 *      type        STRING, LIST, ENUM, BOOL, INTEGER, BYTES, RATE (bytes a second) or DURATION (kept in milliseconds)
 *      value       what stands for the value in the help; of an ENUM its choices, in the order of the C enum
 *      default     as a user would write it; "" is none
 *      min, max    of a STRING its length, of a LIST the number of its parts, of a number the number; unused for ENUM and BOOL
 *      section     heading in the help and in the file
 *      applied     LIVE: SIGHUP applies a new value; RESTART: it needs a restart
 *      check       a further check of each value, or NULL (settings_check.h)
 *      sentence    for a person who reads the help */
#pragma once

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)
#define SECOND 1000ull
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

#define SETTINGS(X) \
        X(config, "config", STRING, "FILE", "", 0, 4000, GENERAL, RESTART, NULL, \
          "Configuration file to read.") \
        X(data, "data", STRING, "DIR", "./data", 1, 3800, GENERAL, RESTART, NULL, \
          "Folder that holds everything the registry keeps; it is made where it is missing.") \
        X(read_only, "read-only", BOOL, "", "false", 0, 0, GENERAL, LIVE, NULL, \
          "Refuse pushes and deletions; pulls go on.") \
        X(no_delete, "no-delete", BOOL, "", "false", 0, 0, GENERAL, LIVE, NULL, \
          "Refuse deletions of tags, manifests and blobs; pushes go on.") \
        \
        X(listen, "listen", LIST, "ADDRESS", "127.0.0.1:5000,[::1]:5000", 1, 32, NETWORK, RESTART, check_address, \
          "Address to listen on: HOST:PORT, [IPV6]:PORT, :PORT for all of the machine's, or unix:/PATH (plain HTTP). May be given " \
          "several times. Sockets that systemd hands over take its place.") \
        X(tls, "tls", ENUM, "auto|off|files", "auto", 0, 0, NETWORK, RESTART, NULL, \
          "Where the certificate comes from: auto makes an authority and a certificate of its own, files uses --tls-cert and " \
          "--tls-key, off speaks plain HTTP.") \
        X(tls_cert, "tls-cert", STRING, "FILE", "", 0, 4000, NETWORK, RESTART, NULL, \
          "Certificate with its chain (PEM), for --tls files. It is loaded again when it changes.") \
        X(tls_key, "tls-key", STRING, "FILE", "", 0, 4000, NETWORK, RESTART, NULL, \
          "Private key of the certificate (PEM), for --tls files.") \
        X(name, "name", LIST, "NAME", "", 0, 32, NETWORK, LIVE, check_name, \
          "Further DNS name or IP address for the registry's own certificate. The machine's own names and addresses are in it " \
          "anyway. May be given several times.") \
        X(cors_origin, "cors-origin", STRING, "ORIGIN", "", 0, 300, NETWORK, RESTART, check_origin, \
          "Origin whose web pages may call the registry from a browser, such as https://ui.example.org; * is every origin.") \
        X(loops, "loops", INTEGER, "N", "0", 0, 64, NETWORK, RESTART, NULL, \
          "Threads that serve connections; 0 is one for each core.") \
        X(workers, "workers", INTEGER, "N", "32", 1, 512, NETWORK, RESTART, NULL, \
          "Threads at most for work that waits for the disk; they are started when they are needed.") \
        X(cache_bytes, "cache", BYTES, "SIZE", "16MiB", 0, TIB, NETWORK, RESTART, NULL, \
          "Memory for manifests and small blobs that are asked for often.") \
        X(stop_timeout_ms, "stop-timeout", DURATION, "TIME", "30s", 0, DAY, NETWORK, LIVE, NULL, \
          "How long running transfers may take to finish when the registry is told to stop.") \
        \
        X(max_manifest_bytes, "max-manifest", BYTES, "SIZE", "4MiB", 4 * KIB, 8 * MIB, LIMITS, LIVE, NULL, \
          "Largest manifest.") \
        X(max_upload_bytes, "max-upload", BYTES, "SIZE", "0", 0, 1024 * TIB, LIMITS, LIVE, NULL, \
          "Largest blob; 0 sets no limit.") \
        X(max_connections, "max-connections", INTEGER, "N", "4096", 1, 1000000, LIMITS, LIVE, NULL, \
          "Connections at once; above it the one that was idle for longest is closed.") \
        X(max_head_fields, "max-head-fields", INTEGER, "N", "100", 16, 1000, LIMITS, LIVE, NULL, \
          "Header fields in a request's head.") \
        X(max_head_bytes, "max-head", BYTES, "SIZE", "32KiB", KIB, MIB, LIMITS, LIVE, NULL, \
          "Largest head of a request, its first line included.") \
        X(max_request_line_bytes, "max-request-line", BYTES, "SIZE", "8KiB", 512, 64 * KIB, LIMITS, LIVE, NULL, \
          "Longest first line of a request.") \
        X(head_timeout_ms, "head-timeout", DURATION, "TIME", "15s", SECOND, HOUR, LIMITS, LIVE, NULL, \
          "How long a client may take to send a request's head.") \
        X(idle_timeout_ms, "idle-timeout", DURATION, "TIME", "60s", SECOND, DAY, LIMITS, LIVE, NULL, \
          "How long a connection may wait without a request.") \
        X(body_rate_bytes, "body-rate", RATE, "RATE", "1KiB/s", 0, GIB, LIMITS, LIVE, NULL, \
          "Slowest rate at which a body may travel, in or out; 0 sets no limit.") \
        X(body_rate_window_ms, "body-rate-window", DURATION, "TIME", "30s", SECOND, HOUR, LIMITS, LIVE, NULL, \
          "Time over which --body-rate is measured.") \
        X(max_ranges, "max-ranges", INTEGER, "N", "1024", 1, 1024, LIMITS, LIVE, NULL, \
          "Ranges that one download may ask for; with more it gets the whole.") \
        X(max_page, "max-page", INTEGER, "N", "1000", 1, 10000, LIMITS, LIVE, NULL, \
          "Entries on one page of tags, repositories or referrers; who asks for more gets this many.") \
        \
        X(gc_grace_ms, "gc-grace", DURATION, "TIME", "1h", SECOND, 365 * DAY, STORE, LIVE, NULL, \
          "How long a blob stays that no manifest names, and what a deleted manifest named. A push must not take longer between a " \
          "blob and the manifest.") \
        X(gc_interval_ms, "gc-interval", DURATION, "TIME", "1m", SECOND, 365 * DAY, STORE, LIVE, NULL, \
          "How often the collector looks for what may go.") \
        X(gc_trash_delay_ms, "gc-trash-delay", DURATION, "TIME", "5m", SECOND, 365 * DAY, STORE, LIVE, NULL, \
          "How long the file of a removed blob stays, for those who were just told of it.") \
        X(upload_expiry_ms, "upload-expiry", DURATION, "TIME", "24h", SECOND, 365 * DAY, STORE, LIVE, NULL, \
          "How long an upload stays that makes no progress.") \
        X(untagged_expiry_ms, "untagged-expiry", DURATION, "TIME", "0", 0, 3650 * DAY, STORE, LIVE, NULL, \
          "How long a manifest stays to which no tag, no index and no subject leads; 0: for good.") \
        X(scrub_period_ms, "scrub-period", DURATION, "TIME", "30d", 0, 3650 * DAY, STORE, LIVE, NULL, \
          "Time in which all that is stored is read again once and compared with its digest; 0: never.") \
        X(scrub_rate_bytes, "scrub-rate", RATE, "RATE", "32MiB/s", 64 * KIB, TIB, STORE, LIVE, NULL, \
          "Fastest rate at which stored content is read again.") \
        X(copy_interval_ms, "copy-interval", DURATION, "TIME", "1h", 0, 365 * DAY, STORE, LIVE, NULL, \
          "How often the database is copied to orlop.db.copy beside it, if something changed; 0: never.") \
        X(disk_reserve_bytes, "disk-reserve", BYTES, "SIZE", "64MiB", 0, TIB, STORE, LIVE, NULL, \
          "Space on the disk that is kept free: with less, pushes are refused, while pulls and deletions go on.") \
        \
        X(log_level, "log-level", ENUM, "error|warn|info|debug", "info", 0, 0, LOGGING, LIVE, NULL, \
          "What is written to the log.") \
        X(log_format, "log-format", ENUM, "text|json", "text", 0, 0, LOGGING, LIVE, NULL, \
          "Form of the log's lines.")

#define SETTING_SECTIONS(X) \
        X(GENERAL, "general", "General") \
        X(NETWORK, "network", "Network and TLS") \
        X(LIMITS, "limits", "Limits") \
        X(STORE, "store", "Space and integrity") \
        X(LOGGING, "logging", "Log")
