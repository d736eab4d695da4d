//! The control plane: thin calls, one for each of the server's, that unwrap its answers. Nothing is retried here:
//! a caller decides by [`Error::is_retryable`](crate::Error::is_retryable) and
//! [`Error::may_have_applied`](crate::Error::may_have_applied).

mod streams;
mod groups;
mod deliveries;
mod imports;
mod transforms;
mod tables;
mod maintenance;
mod principals;

use crate::connection::Channel;
use millrace_proto::v1::delivery_service_client::DeliveryServiceClient;
use millrace_proto::v1::group_service_client::GroupServiceClient;
use millrace_proto::v1::import_service_client::ImportServiceClient;
use millrace_proto::v1::maintenance_service_client::MaintenanceServiceClient;
use millrace_proto::v1::principal_service_client::PrincipalServiceClient;
use millrace_proto::v1::stream_service_client::StreamServiceClient;
use millrace_proto::v1::table_service_client::TableServiceClient;
use millrace_proto::v1::transform_service_client::TransformServiceClient;

/// Streams, consumer groups, deliveries, imports, tables and pipeline files. Cheap to clone.
///
/// ```no_run
/// # async fn example(client: millrace_client::Client) -> Result<(), millrace_client::Error> {
/// let admin = client.admin();
/// let changes = admin.apply("[[stream]]\nname = \"flights\"\nshards = 2\n").await?;
/// for change in changes {
///     println!("{} {}: {:?}", change.kind, change.name, change.action());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    streams: StreamServiceClient<Channel>,
    groups: GroupServiceClient<Channel>,
    deliveries: DeliveryServiceClient<Channel>,
    imports: ImportServiceClient<Channel>,
    tables: TableServiceClient<Channel>,
    maintenance: MaintenanceServiceClient<Channel>,
    transforms: TransformServiceClient<Channel>,
    principals: PrincipalServiceClient<Channel>,
}

impl Admin {
    pub(crate) fn new(channel: &Channel, message_bytes_max: usize) -> Self {
        let (streams, deliveries, tables) = (channel.clone(), channel.clone(), channel.clone());
        let groups = GroupServiceClient::new(channel.clone()).max_decoding_message_size(message_bytes_max);
        let maintenance = MaintenanceServiceClient::new(channel.clone()).max_decoding_message_size(message_bytes_max);
        let transforms = TransformServiceClient::new(channel.clone()).max_decoding_message_size(message_bytes_max);
        Self {
            groups,
            maintenance,
            transforms,
            imports: ImportServiceClient::new(channel.clone()).max_decoding_message_size(message_bytes_max),
            principals: PrincipalServiceClient::new(channel.clone()).max_decoding_message_size(message_bytes_max),
            streams: StreamServiceClient::new(streams).max_decoding_message_size(message_bytes_max),
            deliveries: DeliveryServiceClient::new(deliveries).max_decoding_message_size(message_bytes_max),
            tables: TableServiceClient::new(tables).max_decoding_message_size(message_bytes_max),
        }
    }
}
